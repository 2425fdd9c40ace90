"""A bounded set of connections to one server; who finds none free waits for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from redis.asyncio.connection import Connection

from kvcore.errors import UnavailableError
from kvcore_cache_redis.connecting import end

__all__ = ("Pool",)


class Pool:
    """Connections that are opened when they are needed, and then kept.

    They are opened in tasks of their own: a caller who stops waiting does not undo half of a handshake, and the next one
    finds the connection ready. A caller who was given one returns it with `put_back` after it has read all answers, or
    ends it with `drop`; a command whose answer was not read must never leave it to the next caller.

    Args:
        open_one: Opens a connection; raises `UnavailableError`, which those who wait for one get.
        size: The most connections.
    """

    def __init__(self, open_one: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._open_one = open_one
        self._size = size
        self._free: list[Connection] = []
        self._opened: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._closed: str | None = None

    @property
    def opened(self) -> int:
        """How many connections there are."""
        return len(self._opened)

    @property
    def used(self) -> int:
        """How many connections somebody has taken and not returned."""
        return len(self._opened) - len(self._free)

    async def take(self) -> Connection:
        """Return a connection on which nothing is under way.

        Raises:
            UnavailableError: none can be had; nothing was sent.
        """
        while self._free:
            connection = self._free.pop()
            if not await connection.can_read():
                return connection
            # Nobody has asked anything, so the server has ended it, or is out of step.
            await self.drop(connection)
        if self._closed is not None:
            raise UnavailableError(self._closed, outcome="not-applied")
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                await self.put_back(waiter.result())
            raise

    async def put_back(self, connection: Connection) -> None:
        """Give a connection to the next who waits, or keep it."""
        if connection not in self._opened:
            await connection.disconnect(nowait=True)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._free.append(connection)

    async def drop(self, connection: Connection) -> None:
        """End a connection."""
        self._opened.discard(connection)
        await connection.disconnect(nowait=True)
        self._grow()

    async def aclose(self, why: str, within_s: float) -> None:
        """End all connections, also those in use: whoever waits for one, or for an answer, gets an error at once."""
        self._closed = why
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        self._refuse(UnavailableError(why, outcome="not-applied"))
        self._free.clear()
        ended, self._opened = self._opened, set()
        await asyncio.gather(*(end(connection, within_s) for connection in ended))
        await asyncio.gather(*opening, return_exceptions=True)

    def _grow(self) -> None:
        """Open a connection if somebody waits for one and there is room."""
        wanted = sum(not waiter.done() for waiter in self._waiting)
        if self._closed is None and wanted > len(self._opening) and len(self._opened) + len(self._opening) < self._size:
            task = asyncio.create_task(self._add())
            self._opening.add(task)

    async def _add(self) -> None:
        try:
            connection = await self._open_one()
        except UnavailableError as error:
            self._refuse(error)
            return
        finally:
            # Before anybody is given the connection, who may at once ask for another.
            self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._opened.add(connection)
        await self.put_back(connection)

    def _refuse(self, error: UnavailableError) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(UnavailableError(str(error), outcome="not-applied"))
