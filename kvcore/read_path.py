"""The read path: the cache, and behind it the store, from which the cache is filled.

Who misses a key in the cache asks there for the lease on filling it; who gets it asks the store, and fills. Who does not
waits for that fill a while: however many readers on however many nodes miss a key at once, the store is asked once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from kvcore.applying import Lifetimes
from kvcore.backends import Cache, Install, Reserve, Store
from kvcore.batching import Batcher
from kvcore.errors import UnavailableError
from kvcore.metrics import Metrics
from kvcore.model import ZERO, Entry
from kvcore.tiers import Tier

__all__ = ("ReadPath",)

logger = logging.getLogger(__name__)

_FIRST_POLL_S: Final = 0.002
_FOLLOW_S: Final = 0.2
"""How long a reader waits for another's fill: longer than a store takes. Then it asks the store itself."""


class ReadPath:
    """Reads keys, joining what is asked at the same time into bulk calls. One that was never written is at version `ZERO`.

    `new_token` gives one that no lease has had.

    Raises:
        UnavailableError: of each call: the tier cannot be asked.
        OverloadedError: too many wait for it already.
    """

    def __init__(
        self,
        cache: Tier[Cache],
        store: Tier[Store],
        *,
        lifetimes: Lifetimes,
        new_token: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self._lifetimes = lifetimes
        self._new_token = new_token
        self._refused = metrics.reads.leases_refused
        self._lease = cache.guarded("reserve", cache.backend.reserve)
        self._install = cache.guarded("install", cache.backend.install)
        self._ask_store = store.guarded("get", store.backend.get)
        batches = metrics.tiers.batches
        self.read_cache = cache.batcher(
            cache.guarded("read", cache.backend.read), joined=True, observe=batches("cache", "read")
        )
        """Return what the cache has of a key; None: nothing."""
        self._get = store.batcher(self._ask_store, joined=True, observe=batches("store", "get"))
        self._lead = store.batcher(self._fill_all, joined=True, observe=batches("store", "fill"))

    async def aclose(self) -> None:
        """Wait for what is under way."""
        batchers: tuple[Batcher[Any, Any], ...] = (self.read_cache, self._lead, self._get)
        for batcher in batchers:
            await batcher.aclose()

    async def cached(self, key: str) -> Entry | None:
        """Return what the cache has of a key, if it can be asked."""
        try:
            return await self.read_cache(key)
        except UnavailableError:
            return None

    async def stored(self, key: str) -> Entry:
        """Return what the store has of a key."""
        return await self._get(key) or Entry(ZERO)

    async def all_stored(self, keys: Sequence[str]) -> list[Entry]:
        """Return what the store has of keys, each given once, by position, in one call."""
        return [entry or Entry(ZERO) for entry in await self._ask_store(keys)]

    async def filled(self, key: str) -> Entry:
        """Return what the store has of a key, and leave it in the cache; where somebody else is doing just that, wait a while for them."""
        entry = await self._lead(key)
        pause_s = _FIRST_POLL_S
        waits_until = asyncio.get_running_loop().time() + _FOLLOW_S
        while entry is None:
            await asyncio.sleep(pause_s)  # a fill by another node tells nobody here
            pause_s *= 2
            entry = await self.cached(key)
            if entry is None:
                # The lease may have been dropped meanwhile, so it is asked for again.
                patient = asyncio.get_running_loop().time() < waits_until
                entry = await (self._lead(key) if patient else self.stored(key))
        return entry

    async def _fill_all(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """Ask for the leases on keys, read the store, and fill; None where the cache is being, or has been, filled by others."""
        lease_ms = self._lifetimes.lease_ms
        asked = [Reserve(key, self._new_token(), reader=True, lifetime_ms=lease_ms) for key in keys]
        try:
            leases = await self._lease(asked)
        except UnavailableError:
            return await self.all_stored(keys)
        granted = [reserve for reserve, lease in zip(asked, leases, strict=True) if lease.granted]
        self._refused.inc(len(asked) - len(granted))
        if not granted:
            return [None] * len(keys)
        entries = await self.all_stored([reserve.key for reserve in granted])
        found = {reserve.key: entry for reserve, entry in zip(granted, entries, strict=True)}
        fills = [
            Install(one.key, found[one.key], one.token, self._lifetimes.entry_ms(found[one.key])) for one in granted
        ]
        try:
            await self._install(fills)
        except UnavailableError as error:
            logger.debug("not filled into the cache: %s", error)
        return [found.get(key) for key in keys]
