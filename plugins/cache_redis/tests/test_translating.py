"""Exceptions of the driver."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from redis import exceptions

from kvcore.errors import UnavailableError
from kvcore_cache_redis.translating import FAILURES, reason, translating

CLASSES = [
    found
    for found in vars(exceptions).values()
    if isinstance(found, type)
    and issubclass(found, Exception)
    and found not in (exceptions.RedisError, exceptions.ResponseError)
]


def made(kind: type[Exception]) -> Exception:
    """Return one of these; some take what a server says when it sends a client elsewhere."""
    return kind("1 host:1")


@pytest.mark.parametrize("kind", [*CLASSES, OSError, TimeoutError, ssl.SSLError])
def test_every_exception_of_the_driver_is_known(kind: type[Exception]) -> None:
    """Each class of the driver has a meaning of its own; a new one must be given one."""
    assert not reason(made(kind)).startswith(("Redis failed", "it refused a command"))


def test_says_what_it_means_and_what_the_driver_said() -> None:
    """The reason names the driver's class and its words."""
    assert reason(exceptions.ReadOnlyError("words")) == "it is a replica (ReadOnlyError: words)"
    assert reason(exceptions.ResponseError("words")) == "it refused a command (ResponseError: words)"


@pytest.mark.parametrize("kind", [*CLASSES, exceptions.RedisError, OSError])
def test_none_leaves_the_plugin(kind: type[Exception]) -> None:
    """An exception of the driver leaves as an error of kvcore, with the original as its cause and the outcome given."""
    with pytest.raises(UnavailableError) as caught, translating("a:1", "unknown"):
        raise made(kind)
    assert type(caught.value.__cause__) is kind
    assert caught.value.outcome == "unknown"
    assert issubclass(kind, FAILURES)


def test_others_pass() -> None:
    """A cancellation passes untouched."""
    with pytest.raises(asyncio.CancelledError), translating("a:1", "unknown"):
        raise asyncio.CancelledError
