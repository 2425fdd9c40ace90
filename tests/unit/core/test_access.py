"""What a grant allows."""

from __future__ import annotations

from itertools import product

import pytest

from kvcore.access import ANYBODY, Grant, Scope
from kvcore.errors import ForbiddenError

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


@pytest.mark.parametrize(("held", "asked"), list(product(SCOPES, SCOPES)))
def test_a_scope_allows_itself_and_no_other(held: Scope, asked: Scope) -> None:
    """Neither does admin read or write, nor write read."""
    grant = Grant("one", frozenset((held,)))
    if held == asked:
        grant.check_scope(asked)
        grant.check(asked, "key")
        return
    with pytest.raises(ForbiddenError):
        grant.check_scope(asked)
    with pytest.raises(ForbiddenError):
        grant.check(asked, "key")


@pytest.mark.parametrize("key", ["a/", "a/b", "b", "b/c", "bc"])
def test_keys_within_a_prefix_are_allowed(key: str) -> None:
    """A prefix is the beginning of a key, character by character; it is a key itself."""
    Grant("one", frozenset(("read",)), ("a/", "b")).check("read", key)


@pytest.mark.parametrize("key", ["", "a", "A/", "c", " a/", "/a/", "ab", "a\\", "á/"])
def test_keys_outside_of_every_prefix_are_refused(key: str) -> None:
    """A shorter, another or a similar beginning is not the prefix; nor is the listing of all keys within one."""
    with pytest.raises(ForbiddenError):
        Grant("one", frozenset(("read",)), ("a/", "b")).check("read", key)


def test_no_prefix_is_no_key() -> None:
    """A grant without a prefix allows no key, and not every key."""
    with pytest.raises(ForbiddenError):
        Grant("one", frozenset(SCOPES), ()).check("read", "key")


def test_all_refusals_are_alike() -> None:
    """Whether the scope or the prefix is missing is not told, nor which keys there are."""
    refusals = []
    for scope, key in (("write", "a/b"), ("read", "c"), ("admin", "")):
        with pytest.raises(ForbiddenError) as refusal:
            Grant("one", frozenset(("read",)), ("a/",)).check(scope, key)  # type: ignore[arg-type]  # a tuple's items are str to mypy
        refusals.append(str(refusal.value))
    assert len(set(refusals)) == 1


def test_anybody_may_do_everything() -> None:
    """Where nobody is asked for a token, everything is allowed for every key."""
    for scope in SCOPES:
        ANYBODY.check(scope, "")
