"""Finds the master, keeps an eye on it, and finds the next one.

One task does it, whatever the calls do; they take the master that is there, or fail at once.

What is promised, for servers with Sentinels:

* A node uses a master only if, within the last 2 s (`USABLE_S`), that server has said that it is the master and takes
  writes, and no Sentinel that answered knew of a newer failover. This is asked twice a second, and at once when a call fails. So
  a former master that was paused and wakes up, or that nobody has told of its fate yet, is left within a second, though it
  still takes itself for the master. A node that was itself paused does not trust what it knew before.
* A new era is used only when it has been known for those 2 s (`kvcore_cache_redis.lua`, meet): until then another node
  may be using the old one, and would refresh there what is filled here. So at rest no slot is stale. There is nothing to
  wait for where no era came before, as when an empty server starts.
* At rest all nodes that reach a Sentinel that knows of the last failover use the same master.

What is not: a node that is cut off from all Sentinels that know of a failover, together with the former master, goes on using
it until that server refuses writes, which it does where `min-replicas-to-write` is set. Until then this node may read
what was true before it was cut off; what it writes there is seen by nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from kvcore.errors import UnavailableError
from kvcore_cache_redis.connecting import Connector
from kvcore_cache_redis.master import Master
from kvcore_cache_redis.seeking import Seeker
from kvcore_cache_redis.settings import RedisSettings

__all__ = ("USABLE_S", "Watch")

logger = logging.getLogger(__name__)

USABLE_S: Final = 2.0
_CONFIRM_EVERY_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.5


class Watch:
    """Holds the master that may be used now, as long as `run` runs."""

    def __init__(self, seeker: Seeker, connector: Connector, settings: RedisSettings) -> None:
        self._seeker = seeker
        self._connector = connector
        self._settings = settings
        self._master: Master | None = None
        self._why = "it has not been looked for yet"
        self._tried = asyncio.Event()
        self.retries = 0
        """How often a master was looked for again, after none was found."""

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections to the master there are, and how many of these are in use."""
        return (0, 0) if self._master is None else self._master.connections

    def master(self) -> Master:
        """Return the master.

        Raises:
            UnavailableError: there is none to use now; nothing was done.
        """
        master = self._master
        if master is None:
            raise UnavailableError(f"no Redis master can be used now: {self._why}", outcome="not-applied")
        if asyncio.get_running_loop().time() - master.confirmed_s > USABLE_S:
            raise UnavailableError(f"Redis {master.address} was not heard of lately", outcome="not-applied")
        return master

    async def found(self) -> Master:
        """Return the master; at first, after the first try to find it, and after the wait for a new era to be used.

        Raises:
            UnavailableError: there is none to use now.
        """
        await self._tried.wait()
        return self.master()

    async def run(self) -> None:
        """Find a master and watch it, for ever."""
        try:
            while True:
                self._master = await self._next_master()
                logger.info("the cache is Redis %s, master %s", self._master.version, self._master.address)
                self._tried.set()
                try:
                    self._why = await self._end_of(self._master)
                finally:
                    master, self._master = self._master, None
                    await master.aclose(self._why)
                logger.warning("left Redis master %s: %s", master.address, self._why)
        finally:
            await self._seeker.aclose()

    async def _next_master(self) -> Master:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                master = await self._try()
            except UnavailableError as error:
                self._note(str(error))
                self._tried.set()
                await asyncio.sleep(pause_s)  # backoff: a server that is away tells nobody when it is back
                self.retries += 1
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            if (too_new_by_s := USABLE_S - master.known_ms / 1000) <= 0:
                return master
            self._note(f"{master.address} has become the master a moment ago, and others may still use the former one")
            await master.aclose(self._why)
            await asyncio.sleep(too_new_by_s)  # others may use the former master for so long

    async def _try(self) -> Master:
        asked_s = asyncio.get_running_loop().time()
        whys = []
        for address in await self._seeker.addresses():
            try:
                master = await Master.meet(
                    address,
                    connector=self._connector,
                    namespace=self._settings.namespace,
                    connections=self._settings.max_connections,
                )
            except UnavailableError as error:
                whys.append(str(error))
            else:
                master.confirmed_s = asked_s  # what the Sentinels said may have been overtaken while it was met
                return master
        raise UnavailableError("; ".join(whys), outcome="not-applied")

    def _note(self, why: str) -> None:
        """Keep why there is no master, and log it once."""
        if why != self._why:
            logger.warning("no Redis master can be used: %s", why)
        self._why = why

    async def _end_of(self, master: Master) -> str:
        """Return when a master must not be used any more, and say why."""
        while True:
            try:
                async with asyncio.timeout(_CONFIRM_EVERY_S):
                    await master.suspected.wait()
            except TimeoutError:
                pass
            asked_s, addresses = await asyncio.gather(
                master.confirm(), self._seeker.addresses(), return_exceptions=True
            )
            for failure in (asked_s, addresses):
                if isinstance(failure, BaseException) and not isinstance(failure, UnavailableError):
                    raise failure
            if isinstance(asked_s, BaseException):
                return str(asked_s)
            # Where no Sentinel can tell, the master stays where it is.
            if not isinstance(addresses, BaseException) and master.address not in addresses:
                return "the Sentinels name another one"
            master.confirmed_s = asked_s
