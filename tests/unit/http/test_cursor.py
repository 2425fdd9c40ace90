"""Cursors of a listing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.http.cursor import cursor_at, place_of
from kvcore.http.problems import InvalidRequestError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(prefix=TEXT, rest=TEXT)
def test_a_cursor_leads_to_its_place(prefix: str, rest: str) -> None:
    """Whatever the key, its cursor gives it back, and is made of what needs no encoding in a query."""
    cursor = cursor_at(prefix, prefix + rest)
    assert place_of(prefix, cursor) == prefix + rest
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(prefix=TEXT, other=TEXT, rest=TEXT)
def test_a_cursor_is_refused_for_another_prefix(prefix: str, other: str, rest: str) -> None:
    """A listing never goes on somewhere else unnoticed."""
    if prefix != other:
        with pytest.raises(InvalidRequestError):
            place_of(other, cursor_at(prefix, prefix + rest))


@given(cursor=st.text())
def test_a_cursor_that_was_made_up_is_refused(cursor: str) -> None:
    """Any text is refused by a problem, and never by a fault."""
    with pytest.raises(InvalidRequestError):
        place_of("prefix", cursor)


@pytest.mark.parametrize("tail", [b"\0", b"\xff", b"\xed\xa0\x80"], ids=["NUL", "no UTF-8", "half a surrogate pair"])
def test_a_cursor_to_what_is_no_key_is_refused(tail: bytes) -> None:
    """Not even with the right digest does a cursor bring to the store what no key can be."""
    digest = base64.urlsafe_b64decode(cursor_at("a", "a"))
    with pytest.raises(InvalidRequestError):
        place_of("a", base64.urlsafe_b64encode(digest + tail).decode().rstrip("="))


@pytest.mark.parametrize("more", ["=", "==", " ", "\n"])
def test_a_place_has_one_cursor(more: str) -> None:
    """A cursor with anything added is another text, and refused."""
    with pytest.raises(InvalidRequestError):
        place_of("a", cursor_at("a", "ab") + more)
