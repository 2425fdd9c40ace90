"""Ranges of keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvcore_store_sqlite.keyrange import key_range

# Characters around every edge of UTF-8, and few enough of them that prefixes are met.
texts = st.text("\x01a\x7f\x80\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff", max_size=4)


def encoded(bound: str | bytes) -> bytes:
    """Return a bound as SQLite compares it; 0xff is in no UTF-8."""
    return bound.encode() if isinstance(bound, str) else b"\xff"


@given(texts, st.none() | texts, st.lists(texts.filter(bool)))
@example("\ud7ff", None, ["\ud7ffa", "\ue000"])
@example("a\U0010ffff", "a\U0010ffffb", ["a\U0010ffffb", "a\U0010ffffb\x01", "b"])
def test_the_range_has_just_the_keys_with_the_prefix_that_come_after(
    prefix: str, after: str | None, keys: Sequence[str]
) -> None:
    """A key lies in the range if, and only if, it begins with the prefix and comes after the other in byte order."""
    start, stop = key_range(prefix, after)
    for key in keys:
        wanted = key.startswith(prefix) and (after is None or key.encode() > after.encode())
        assert (encoded(start) <= key.encode() < encoded(stop)) == wanted


@pytest.mark.parametrize(
    ("prefix", "stop"),
    [("", b""), ("\U0010ffff", b""), ("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\x7f", "\x80")],
)
def test_the_range_ends_at_the_next_prefix(prefix: str, stop: str | bytes) -> None:
    """The end is the next text that a prefix of the same length can be, or beyond all text."""
    assert key_range(prefix, None)[1] == stop
