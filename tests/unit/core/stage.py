"""A whole node without a server: fakes for the tiers, and the product's service and workers on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kvcore.clock import HybridClock
from kvcore.errors import UnavailableError
from kvcore.metrics import Metrics
from kvcore.service import KeyValueService
from kvcore.settings import CacheSettings, QueueSettings, Settings, StoreSettings, WorkerSettings
from kvcore.tiers import Tier
from kvcore.worker import Worker
from tests.unit.core.fakes import FakeCache, FakeQueue, FakeStore, Fault, loop_ms

__all__ = ("Stage", "settings_of")


def settings_of(**changes: Any) -> Settings:
    """Return the default settings of a node on fakes, with changes."""
    given = {
        "cache": CacheSettings(backend="fake", ttl_jitter=0),
        "queue": QueueSettings(backend="fake"),
        "store": StoreSettings(backend="fake"),
        "worker": WorkerSettings(deadline_s=1.0),
    }
    return Settings(**(given | changes))


class Stage:
    """The tiers, and what runs on them. Each node and each worker guards the tiers for itself, as in processes of their own."""

    def __init__(self, *, with_queue: bool = True, settings: Settings | None = None) -> None:
        self.settings = settings or settings_of()
        self.cache = FakeCache()
        self.queue = FakeQueue()
        self.store = FakeStore()
        self.with_queue = with_queue
        self.service = self.node()

    def node(self, *, ahead_ms: int = 0, **backends: Any) -> KeyValueService:
        """Return one more node; its wall clock is ahead by so much."""
        clock = HybridClock(max_ahead_ms=60_000, now_ms=lambda: loop_ms() + ahead_ms)
        tiers = self._tiers(**backends)
        if not self.with_queue:
            tiers["queue"] = None
        return KeyValueService(self.settings, clock=clock, metrics=Metrics(), **tiers)

    def worker(self, **observed: Any) -> Worker:
        """Return a worker that is not running."""
        return Worker(self.settings, **({"metrics": Metrics()} | self._tiers() | observed))

    def _tiers(self, **backends: Any) -> dict[str, Any]:
        given = {"cache": self.cache, "queue": self.queue, "store": self.store} | backends
        clock = asyncio.get_running_loop().time
        return {kind: Tier(kind, given[kind], getattr(self.settings, kind), clock=clock) for kind in given}  # type: ignore[arg-type]  # the keys are kinds

    @asynccontextmanager
    async def working(self, **observed: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Run a worker; stop it, and wait for its end, on leaving."""
        task = asyncio.create_task(self.worker(**observed).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drained(self) -> None:
        """Return when the queue is empty."""
        async with asyncio.timeout(600):
            while not self.queue.is_empty:
                await asyncio.sleep(0.01)

    def heal(self) -> None:
        """Let every tier work from now on."""
        for backend in (self.cache, self.queue, self.store):
            backend.faults.heal()

    def fail(self, **faults: Fault | None) -> None:
        """Let tiers fail from now on: `fail(cache="before", store="hang")`."""
        for kind, fault in faults.items():
            getattr(self, kind).faults.always = fault


async def fate_of(write: Any) -> str:
    """Return "stored" or "accepted" for what a write came to, else its error's outcome."""
    try:
        written = await write
    except UnavailableError as error:
        return error.outcome
    return "stored" if written.stored else "accepted"
