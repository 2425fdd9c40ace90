"""The pool, with connections that only remember whether they were ended."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from redis.asyncio.connection import Connection

from kvcore.errors import UnavailableError
from kvcore_cache_redis.pool import Pool


class FakeConnection:
    """A connection to nowhere."""

    def __init__(self) -> None:
        self.ended = False

    async def can_read(self) -> bool:
        """Tell whether it was ended, as the driver does."""
        return self.ended

    async def disconnect(self, *, nowait: bool = False) -> None:
        """End it."""
        self.ended = True


class Opener:
    """Opens connections once `allowed` is set; with `failure`, fails."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.opened: list[FakeConnection] = []
        self.failure: UnavailableError | None = None

    async def __call__(self) -> Connection:
        """Open one."""
        await self.allowed.wait()
        if self.failure is not None:
            raise self.failure
        self.opened.append(FakeConnection())
        return cast("Connection", self.opened[-1])


async def settle() -> None:
    """Let all that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_cancelled_caller_does_not_undo_the_opening() -> None:
    """What was begun for a caller who has stopped waiting serves the next one."""
    opener = Opener()
    pool = Pool(opener, 1)
    first = asyncio.create_task(pool.take())
    await settle()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(pool.take())
    await settle()
    opener.allowed.set()
    assert await second is cast("Connection", opener.opened[0])
    assert len(opener.opened) == 1
    await pool.aclose("the end", 1)


async def test_a_connection_handed_to_a_cancelled_caller_goes_to_the_next() -> None:
    """A caller who is cancelled in the very moment when it gets a connection does not keep it."""
    opener = Opener()
    opener.allowed.set()
    pool = Pool(opener, 1)
    connection = await pool.take()
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await settle()
    await pool.put_back(connection)
    first.cancel()
    assert await second is connection
    assert first.cancelled()
    await pool.aclose("the end", 1)


async def test_a_dropped_connection_makes_room_for_another() -> None:
    """Who waits while all connections are in use gets a new one in place of one that broke."""
    opener = Opener()
    opener.allowed.set()
    pool = Pool(opener, 1)
    broken = await pool.take()
    waiting = asyncio.create_task(pool.take())
    await settle()
    assert not waiting.done()
    await pool.drop(broken)
    assert await waiting is not broken
    assert opener.opened[0].ended
    await pool.aclose("the end", 1)


async def test_a_failed_opening_refuses_all_who_wait() -> None:
    """Nobody waits for a server that cannot be reached, and nothing was sent."""
    opener = Opener()
    pool = Pool(opener, 1)
    callers = [asyncio.create_task(pool.take()) for _ in range(3)]
    await settle()
    opener.failure = UnavailableError("gone")
    opener.allowed.set()
    for caller in callers:
        with pytest.raises(UnavailableError, match="gone") as caught:
            await caller
        assert caught.value.outcome == "not-applied"
    await pool.aclose("the end", 1)


async def test_closing_ends_everything_at_once() -> None:
    """Closing ends free connections and those in use, refuses who waits and who comes later, and may be repeated."""
    opener = Opener()
    opener.allowed.set()
    pool = Pool(opener, 2)
    in_use, free = await pool.take(), await pool.take()
    await pool.put_back(free)
    await pool.aclose("the end", 1)
    assert all(connection.ended for connection in opener.opened)
    with pytest.raises(UnavailableError, match="the end"):
        await pool.take()
    await pool.put_back(in_use)
    with pytest.raises(UnavailableError, match="the end"):
        await pool.take()
    await pool.aclose("the end", 1)


async def test_tells_how_many_connections_there_are_and_how_many_are_taken() -> None:
    """A connection is in use from when it is taken until it is returned, and there until it is dropped."""
    opener = Opener()
    opener.allowed.set()
    pool = Pool(opener, 2)
    assert (pool.opened, pool.used) == (0, 0)
    first, second = await pool.take(), await pool.take()
    assert (pool.opened, pool.used) == (2, 2)
    await pool.put_back(first)
    assert (pool.opened, pool.used) == (2, 1)
    await pool.drop(second)
    assert (pool.opened, pool.used) == (1, 0)
    await pool.aclose("the end", 1)
    assert (pool.opened, pool.used) == (0, 0)
