"""Where the keys with a prefix end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore_store_cockroach.keyrange import successor

# Characters around every edge of UTF-8, and few enough of them that prefixes are met.
texts = st.text("\x01a\x7f\x80\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff", max_size=4)


@given(texts, st.lists(texts))
def test_what_begins_with_a_prefix_lies_below_its_successor(prefix: str, keys: list[str]) -> None:
    """From the prefix on, just the keys that begin with it come before the successor, in byte order of UTF-8."""
    stop = successor(prefix)
    for key in keys:
        inside = key.encode() >= prefix.encode() and (stop is None or key.encode() < stop.encode())
        assert inside == key.startswith(prefix)


@pytest.mark.parametrize(
    ("prefix", "stop"),
    [("", None), ("\U0010ffff", None), ("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\x7f", "\x80")],
)
def test_is_the_next_prefix(prefix: str, stop: str | None) -> None:
    """The successor is the next text that a prefix of the same length can be, if there is any."""
    assert successor(prefix) == stop
