"""A server that was found to be the master, during one era of its mastership.

The era is the first half of the replication id, which a server draws anew when it starts and when it becomes the master,
and shares with no other master. It is part of every key. So what a server held before a restart, or as a replica, or
the last time when it was the master, is never seen again, and a write that arrives late at a former master is lost.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

from redis import exceptions
from redis.asyncio.connection import Connection

from kvcore.errors import UnavailableError
from kvcore_cache_redis.addresses import Address
from kvcore_cache_redis.connecting import Connector, end, exchange
from kvcore_cache_redis.lua import MEET
from kvcore_cache_redis.pool import Pool
from kvcore_cache_redis.translating import translating

__all__ = ("Master", "fields")

_ERA_DIGITS: Final = 20
_NO_ID: Final = "0" * 40


class _Era(NamedTuple):
    """The name of an era, and whether the server has taken over in it from a master before."""

    name: str
    is_succession: bool


class Master:
    """A master, the connections to it, and when it was last found to be well.

    Attributes:
        address: Where it is.
        version: The server's own version, such as "7.0.15".
        prefix: What the keys of its slots begin with.
        record: The key of the hash that holds the era, and how many slots were evicted in it.
        known_ms: For how long this era had been known to the nodes when this one met the server.
        confirmed_s: When it was last known to be the master, on the clock of the event loop.
        suspected: Set when a call failed, so that it should be looked at now.
    """

    def __init__(self, address: Address, era: str, *, connector: Connector, namespace: str, connections: int) -> None:
        self.address = address
        self.version = ""
        self.known_ms = 0
        self.prefix = f"{namespace}:{era}:"
        self.record = _record(namespace)
        self.confirmed_s = asyncio.get_running_loop().time()
        self.suspected = asyncio.Event()
        self._era = era
        self._connector = connector
        self._guard: Connection | None = None
        self._pool = Pool(self._open, connections)

    @classmethod
    async def meet(cls, address: Address, *, connector: Connector, namespace: str, connections: int) -> Master:
        """Return the master at this address.

        Raises:
            UnavailableError: it cannot be reached, is no master, or takes no writes.
        """
        with translating(address, "not-applied"):
            connection = await connector.open(address)
            try:
                async with asyncio.timeout(connector.timeout_s):
                    era = await _era_of(connection, address, namespace)
                    (server,) = await exchange(connection, ("INFO", "server"))
                    meet = ("EVAL", MEET.text, 1, _record(namespace), era.name, int(era.is_succession))
                    (known_ms,) = await exchange(connection, meet)
            except BaseException:  # also when cancelled: nobody else would end the connection; raised again
                await connection.disconnect(nowait=True)
                raise
        master = cls(address, era.name, connector=connector, namespace=namespace, connections=connections)
        master.version = fields(server).get("redis_version", "of unknown version")
        master.known_ms = known_ms
        master._guard = connection
        return master

    async def confirm(self) -> float:
        """Make sure that it is still the master, in the same era, and takes writes; return when it was asked.

        Raises:
            UnavailableError: it is not, or does not say so in time.
        """
        asked_s = asyncio.get_running_loop().time()
        self.suspected.clear()
        guard, self._guard = self._guard, None
        if guard is not None and await guard.can_read():
            await guard.disconnect(nowait=True)
            guard = None
        self._guard = await (self._open() if guard is None else self._verified(guard))
        return asked_s

    async def ask(self, command: bytes) -> Any:
        """Send a packed command and return the answer.

        Raises:
            UnavailableError: before anything was sent.
            Exception: any of `translating.FAILURES`, afterwards.
        """
        connection = await self._pool.take()
        try:
            await connection.send_packed_command(command, check_health=False)
            answer = await connection.read_response(disable_decoding=True)
        except exceptions.ResponseError:
            self.suspected.set()
            await self._pool.put_back(connection)
            raise
        except BaseException:  # also when cancelled: an unread answer must not reach the next caller; raised again
            self.suspected.set()
            await self._pool.drop(connection)
            raise
        await self._pool.put_back(connection)
        return answer

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections to it calls are made over, and how many of these are in use."""
        return self._pool.opened, self._pool.used

    async def aclose(self, why: str) -> None:
        """End all connections; `why` is what those get who use one."""
        await self._pool.aclose(why, self._connector.timeout_s)
        guard, self._guard = self._guard, None
        if guard is not None:
            await end(guard, self._connector.timeout_s)

    async def _open(self) -> Connection:
        try:
            with translating(self.address, "not-applied"):
                connection = await self._connector.open(self.address)
            return await self._verified(connection)
        except UnavailableError:
            self.suspected.set()
            raise

    async def _verified(self, connection: Connection) -> Connection:
        namespace = self.record.partition(".")[0]
        try:
            with translating(self.address, "not-applied"):
                async with asyncio.timeout(self._connector.timeout_s):
                    era = await _era_of(connection, self.address, namespace)
            if era.name != self._era:
                raise UnavailableError(
                    f"Redis {self.address} has been restarted, or has changed its part, since", outcome="not-applied"
                )
        except BaseException:  # also when cancelled: nobody else would end the connection; raised again
            await connection.disconnect(nowait=True)
            raise
        return connection


def fields(info: bytes) -> dict[str, str]:
    """Return the fields of an answer to INFO."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _record(namespace: str) -> str:
    # The keys of slots begin with the namespace and a colon, so none of them is this one.
    return f"{namespace}.era"


async def _era_of(connection: Connection, address: Address, namespace: str) -> _Era:
    """Return the era of a master that takes writes: the removal of what is not there changes nothing, but may be refused."""
    info, _ = await exchange(connection, ("INFO", "replication"), ("HDEL", _record(namespace), "probe"))
    replication = fields(info)
    if replication.get("role") != "master":
        raise UnavailableError(f"Redis {address} is a replica", outcome="not-applied")
    if not (name := replication.get("master_replid", "")[:_ERA_DIGITS]):
        raise UnavailableError(f"Redis {address} does not tell its replication id", outcome="not-applied")
    return _Era(name, is_succession=replication.get("master_replid2", _NO_ID) != _NO_ID)
