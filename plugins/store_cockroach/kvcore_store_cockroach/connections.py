"""The connections of a store: made when needed, kept, spread over the servers.

Not the driver's own pool, on purpose. That one reconnects in the background with pauses that double up to minutes, while
those who ask wait for a timeout that does not say why; and it does not care where a connection leads, so that a server that
stands still gets its share of the calls for as long as its connections live. Here who needs a connection makes it, and
hears what is wrong; and a server that has just failed somebody is asked last, and all its connections are dropped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus

from kvcore.backends import PoolStats
from kvcore.errors import OverloadedError
from kvcore_store_cockroach.connecting import Connection, applied, connect, lacking, unavailable
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.translating import failure, words

__all__ = ("Connections",)

_LIFETIME_S: Final = 300.0
"""Then a connection is made anew, which spreads them again when a server is back."""
_AVOIDED_S: Final = 10.0
"""How long a server that has failed somebody is asked last."""
_WAITING: Final = 1000
"""Most calls that wait for a connection."""


class Connections:
    """At most `settings.connections` connections."""

    def __init__(self, settings: CockroachSettings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.connections)
        self._waiting = self._used = 0
        self._idle: deque[Connection] = deque()
        self._failed_s = dict.fromkeys(settings.hosts, float("-inf"))
        self._connecting: set[asyncio.Task[Connection]] = set()
        self._closed = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Yield a connection for one caller.

        Raises:
            OverloadedError: too many wait for one.
            UnavailableError: no server can be reached, or the database is not fit for use. Nothing was done.
        """
        await self._acquire()
        try:
            connection = self._pop_idle() or await self._make()
        except BaseException:  # also when cancelled: nobody else would free the place; raised again
            self._free.release()
            raise
        self._used += 1
        try:
            yield connection
        except asyncio.CancelledError:
            self.drop(connection.host)
            raise
        finally:
            self._used -= 1
            self._put_back(connection)
            self._free.release()

    def stats(self, retries: int) -> PoolStats:
        """Return the connections in numbers; what has been tried again is counted elsewhere."""
        return PoolStats(
            open=len(self._idle) + self._used, in_use=self._used, limit=self._settings.connections, retries=retries
        )

    def drop(self, host: str) -> None:
        """Give up the idle connections to a server that has failed somebody, and ask it last from now on."""
        self._failed_s[host] = time.monotonic()
        kept = deque(connection for connection in self._idle if connection.host != host)
        for connection in self._idle:
            if connection.host == host:
                _end(connection)
        self._idle = kept

    async def aclose(self) -> None:
        """Close all; those in use are closed when they are given back. May be repeated."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        while self._idle:
            _end(self._idle.pop())

    async def _acquire(self) -> None:
        if self._closed:
            raise unavailable("the store has been closed")
        if self._free.locked():
            if self._waiting >= _WAITING:
                raise OverloadedError("too many calls wait for a connection to the database: try again")
            self._waiting += 1
            try:
                await self._free.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._free.acquire()

    def _pop_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            if time.monotonic() - connection.opened_s < _LIFETIME_S:
                return connection
            _end(connection)
        return None

    def _put_back(self, connection: Connection) -> None:
        sound = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if sound and not self._closed and len(self._idle) < self._settings.connections:
            self._idle.append(connection)
        else:
            _end(connection)

    async def _make(self) -> Connection:
        """Connect in a task of its own, which goes on when the caller has a deadline and gives up: the next one gains by it."""
        task = asyncio.create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # not the caller was, but this, by closing
                raise unavailable("the store has been closed") from None
            task.add_done_callback(self._keep)
            raise

    def _keep(self, task: asyncio.Task[Connection]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._put_back(task.result())

    async def _connect(self) -> Connection:
        """Connect to the first server that can serve, in random order but for those that have failed of late."""
        reasons = []
        for host in self._in_turn():
            try:
                return await self._connect_to(host)
            except psycopg.Error as error:
                reasons.append(f"{host}: {failure(error).reason if error.sqlstate else words(error)}")
            except TimeoutError:
                reasons.append(f"{host}: no answer within {self._settings.connect_timeout_s:g} s")
        raise unavailable("; ".join(reasons))

    def _in_turn(self) -> list[str]:
        hosts = list(self._failed_s)
        random.shuffle(hosts)
        avoided_s = time.monotonic() - _AVOIDED_S
        return sorted(hosts, key=lambda host: max(self._failed_s[host], avoided_s))

    async def _connect_to(self, host: str) -> Connection:
        # Until it is known to answer, others shall try elsewhere.
        self._failed_s[host] = time.monotonic()
        connection = await connect(self._settings, host)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                why = lacking(connection.server, await applied(connection))
            if why:
                raise unavailable(why)
        except BaseException:  # also when cancelled: nobody else would close the connection; raised again
            _end(connection)
            raise
        self._failed_s[host] = float("-inf")
        return connection


def _end(connection: Connection) -> None:
    connection.pgconn.finish()
