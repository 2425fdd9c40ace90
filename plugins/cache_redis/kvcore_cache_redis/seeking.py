"""Where the master is: always at one address, or where the Sentinels say.

Sentinels may be dead, paused or cut off, and then name a former master. So all are asked at once, none is waited for
longer than the limit, and of those that answer only the ones with the highest configuration epoch count: each failover
has its own, higher than all before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from redis.asyncio.connection import Connection

from kvcore.errors import UnavailableError
from kvcore_cache_redis.addresses import Address
from kvcore_cache_redis.connecting import Connector, end, exchange
from kvcore_cache_redis.translating import translating

__all__ = ("FixedAddress", "Seeker", "Sentinels", "Sighting")


class Seeker(Protocol):
    """Tells where the master is."""

    async def addresses(self) -> Sequence[Address]:
        """Return where the master may be, by the newest that is known: one address, unless opinions differ.

        Raises:
            UnavailableError: nobody can tell.
        """
        ...

    async def aclose(self) -> None:
        """End all connections."""
        ...


class FixedAddress:
    """One server, which is the master or is none."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def addresses(self) -> Sequence[Address]:
        return [self._address]

    async def aclose(self) -> None:
        """There is nothing to end."""


class Sighting(NamedTuple):
    """What a Sentinel says: the epoch of its configuration, and the master's address."""

    epoch: int
    address: Address


class Sentinels:
    """The Sentinels of one master, each with a connection that is kept."""

    def __init__(self, addresses: Sequence[Address], master_name: str, connector: Connector) -> None:
        self._sentinels = [_Sentinel(address, master_name, connector) for address in addresses]

    async def addresses(self) -> Sequence[Address]:
        answers = await asyncio.gather(*(sentinel.ask() for sentinel in self._sentinels))
        sightings = [answer for answer in answers if isinstance(answer, Sighting)]
        if not sightings:
            raise UnavailableError("; ".join(str(answer) for answer in answers), outcome="not-applied")
        newest = max(sighting.epoch for sighting in sightings)
        return list(dict.fromkeys(sighting.address for sighting in sightings if sighting.epoch == newest))

    async def aclose(self) -> None:
        await asyncio.gather(*(sentinel.aclose() for sentinel in self._sentinels))


class _Sentinel:
    def __init__(self, address: Address, master_name: str, connector: Connector) -> None:
        self._address = address
        self._master_name = master_name
        self._connector = connector
        self._connection: Connection | None = None

    async def ask(self) -> Sighting | UnavailableError:
        """Return what this one says, or why it says nothing."""
        # The connection belongs to this call while it is under way: a call that fails or is cancelled ends it.
        connection, self._connection = self._connection, None
        try:
            with translating(f"Sentinel {self._address}", "not-applied"):
                async with asyncio.timeout(self._connector.timeout_s):
                    if connection is None or await connection.can_read():
                        await _drop(connection)
                        connection = await self._connector.open(self._address)
                    sighting = await self._sighting(connection)
        except UnavailableError as error:
            await _drop(connection)
            return error
        except BaseException:  # also when cancelled: an unread answer must not meet the next question; raised again
            await _drop(connection)
            raise
        self._connection = connection
        return sighting

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await end(connection, self._connector.timeout_s)

    async def _sighting(self, connection: Connection) -> Sighting:
        # The first of them knows of a new master before the second, which knows the epoch.
        (host, port), state = await exchange(
            connection,
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master_name),
            ("SENTINEL", "MASTER", self._master_name),
        )
        return Sighting(int(state[b"config-epoch"]), Address(host.decode(), int(port)))


async def _drop(connection: Connection | None) -> None:
    if connection is not None:
        await connection.disconnect(nowait=True)
