"""The store "cockroach"."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from kvcore.backends import Ability, Limits, PoolStats, Purged, Scanned, StoreStats
from kvcore.errors import UnavailableError
from kvcore.model import Entry, Mutation, Outcome, Version
from kvcore_store_cockroach.answering import Answering
from kvcore_store_cockroach.arrays import Texts
from kvcore_store_cockroach.connecting import unavailable
from kvcore_store_cockroach.connections import Connections
from kvcore_store_cockroach.executing import Executor
from kvcore_store_cockroach.listing import scan
from kvcore_store_cockroach.purging import Purge
from kvcore_store_cockroach.server import LEAST_LIMITS, Server, limits_of
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.translating import RefusedError
from kvcore_store_cockroach.writing import Writing

__all__ = ("CockroachStore", "open_cockroach")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def open_cockroach(settings: CockroachSettings) -> AsyncIterator[CockroachStore]:
    """Yield the store. The database is connected to by the first call."""
    store = CockroachStore(settings)
    try:
        yield store
    finally:
        await store.aclose()


class CockroachStore:
    """The entries at rest in CockroachDB, or in PostgreSQL: see `kvcore.backends.Store`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.DURABLE, Ability.SHARED, Ability.LISTING, Ability.IDEMPOTENCY, Ability.POOL}
    )

    def __init__(self, settings: CockroachSettings, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._connections = Connections(settings)
        self._executor = Executor(self._connections)
        self._purge = Purge(self._executor)
        self._now_ms = now_ms

    @property
    def limits(self) -> Limits:
        """What the server takes; until one is met, what both kinds take."""
        met = self._executor.met
        return LEAST_LIMITS if met is None else limits_of(met)

    async def aclose(self) -> None:
        """Close all connections. May be repeated."""
        await self._connections.aclose()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """Return what is held for each key."""
        if not keys:
            return []
        try:
            held = await self._held(keys)
        except RefusedError as refusal:
            raise unavailable(str(refusal)) from refusal
        return [held.get(key) for key in keys]

    async def _held(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        rows = await self._executor.rows("get", {"keys": Texts.of(keys)})
        return {key: Entry(*entry) for key, *entry in rows}

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        """Return up to `limit` keys that exist now."""
        return await scan(self._executor, prefix, after, limit, self._now_ms())

    async def stats(self) -> StoreStats:
        """Return the size of the table, where the server knows it at once; the newest version would take a look at all."""
        if (await self._executor.server()).kind == "CockroachDB":
            return StoreStats()
        ((size_bytes,),) = await self._executor.read("size")
        return StoreStats(size_bytes=size_bytes)

    def pool(self) -> PoolStats:
        """Return the connections in numbers, and how often a statement was sent again."""
        return self._connections.stats(self._executor.retries)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Apply mutations; the server has confirmed all of it when this returns."""
        requests = [mutation for mutation in mutations if mutation.request_id]
        if not requests:
            return await self._apply(Writing, mutations)
        plain = [mutation for mutation in mutations if not mutation.request_id]
        outcomes = await self._apply(Writing, plain)
        try:
            answers = await self._apply(Answering, requests)
        except UnavailableError as error:
            if plain:
                error.outcome = "unknown"
            raise
        others, of_requests = iter(outcomes), iter(answers)
        return [next(of_requests if mutation.request_id else others) for mutation in mutations]

    async def _apply(self, way: type[Writing], mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        limits = limits_of(await self._executor.server())
        return await way(self._executor, self._held, limits, self._now_ms).apply(mutations)

    async def purge(self, before: Version, limit: int) -> Purged:
        return await self._purge.purge(before, limit)

    async def ping(self) -> str:
        """Read and write."""
        ((said,),) = await self._executor.read("ping")
        return str(Server.named(said))
