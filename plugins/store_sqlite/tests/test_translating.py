"""Exceptions of the driver."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from kvcore.errors import UnavailableError
from kvcore_store_sqlite.translating import reason, translating, unavailable

CLASSES = [
    found
    for found in vars(apsw).values()
    if isinstance(found, type) and issubclass(found, apsw.Error) and found is not apsw.Error
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_exception_of_the_driver_is_known(kind: type[apsw.Error]) -> None:
    """Each class of the driver has a meaning of its own; a new one must be given one."""
    assert not reason(kind("words")).startswith("SQLite failed")


def test_says_what_it_means_and_what_the_driver_said() -> None:
    """The reason names what to do, the driver's class and its words."""
    assert reason(apsw.FullError("words")) == "the disk is full: make room (FullError: words)"


@pytest.mark.parametrize("kind", CLASSES)
def test_none_leaves_the_plugin(kind: type[apsw.Error]) -> None:
    """An exception of the driver leaves as an error of kvcore, with the original as its cause and the outcome given."""
    with pytest.raises(UnavailableError) as caught, translating(unavailable("unknown")):
        raise kind("words")
    assert type(caught.value.__cause__) is kind
    assert caught.value.outcome == "unknown"


def test_others_pass() -> None:
    """A cancellation passes untouched."""
    with pytest.raises(asyncio.CancelledError), translating(unavailable("unknown")):
        raise asyncio.CancelledError
