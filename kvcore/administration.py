"""What operators do with the tiers themselves: looking into the queue, clearing the cache, purging the store.

All of it goes through the guards of the tiers, so that a tier that is away is no riddle. What takes long because there is
much to do does not open a circuit breaker: others need not be refused for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from kvcore.backends import Cache, DeadLetter, DeadLetters, Kind, Purged, Queue, QueueStats, Store, dead_letters_of
from kvcore.batching import Batcher
from kvcore.clock import HybridClock, version_at
from kvcore.errors import ChangingNothing, UnavailableError, UnsupportedError
from kvcore.metrics import Metrics
from kvcore.model import NEVER, Entry, Mutation
from kvcore.settings import Settings
from kvcore.tiers import Tier

__all__ = ("MOST_LETTERS", "Administration")

T = TypeVar("T")
U = TypeVar("U")

MOST_LETTERS: Final = 1000
"""Dead letters that are listed, looked through, replayed or discarded at once."""
_PURGE_ROWS: Final = 1000
"""How much one portion of a purge removes at most."""
_PATIENCE_S: Final = 30.0
"""For what takes the longer the more there is: to clear a cache, to go through dead letters."""
_PROBE_S: Final = 5.0
_PROBE_KEY: Final = "kvcore.lag-probe"
_ASKING: Final = 1000
"""Who may wait for one and the same thing."""


class Administration:
    """The operations of an operator on the tiers of a running node."""

    def __init__(
        self, settings: Settings, *, clock: HybridClock, tiers: Mapping[Kind, Tier[Any]], metrics: Metrics
    ) -> None:
        self._retention_ms = int(settings.store.tombstone_retention_s * 1000)
        self._clock = clock
        self._queue: Tier[Queue] | None = tiers.get("queue")
        self._purged = metrics.purged
        cache: Tier[Cache] = tiers["cache"]
        store: Tier[Store] = tiers["store"]
        self._clear = _patient(cache, "clear", lambda _: cache.backend.clear())
        self._purge = store.guarded("purge", partial(store.backend.purge, limit=_PURGE_ROWS))
        # However many ask at once, one probe is under way, and the letters, which may be large, are in memory once.
        self._probes = _single("the lag probe", self._probe)
        self._listings = _single("the dead letters", self._list)

    # --- cache and store ----------------------------------------------------------------------------------------------

    async def clear_cache(self) -> None:
        """Forget everything that is cached, on all nodes that share the cache.

        Raises:
            UnavailableError: the cache cannot be asked, or has not finished: it may be cleared in part.
        """
        await self._clear(None)

    async def purge(self) -> Purged:
        """Remove one portion of what need not be remembered any longer (`store.tombstone_retention_s`).

        Raises:
            UnavailableError: the store cannot be asked, or has not answered.
        """
        purged = await self._purge(version_at(self._clock.now_ms() - self._retention_ms))
        self._purged.inc(purged.removed)
        return purged

    # --- queue --------------------------------------------------------------------------------------------------------

    async def queue_stats(self) -> QueueStats:
        """Return the queue in numbers.

        Raises:
            UnsupportedError: there is no queue.
            UnavailableError: it cannot be asked.
        """
        queue = self._chosen_queue()
        with ChangingNothing():
            return await queue.guarded("stats", lambda _: queue.backend.stats())(None)

    async def lag_s(self) -> float:
        """Return how many seconds a mutation takes, just now, through the queue and a worker to the store and back.

        Raises:
            UnsupportedError: there is no queue.
            UnavailableError: it cannot be asked, or the probe is not back within five seconds.
        """
        self._chosen_queue()
        with ChangingNothing():
            try:
                async with asyncio.timeout(_PROBE_S):
                    return await self._probes(None)
            except TimeoutError:
                raise UnavailableError(f"the probe is not back within {_PROBE_S:g} s: no worker takes it") from None

    async def _probe(self, asked: Sequence[None]) -> Sequence[float]:
        """Send a mutation whose condition never holds, whatever the store has of its key: it leaves nothing anywhere."""
        queue = self._chosen_queue()
        submit = queue.guarded("probe", queue.backend.submit, deadline_s=_PROBE_S, slow_is_failure=False)
        probe = Mutation(_PROBE_KEY, Entry(self._clock.stamp()), NEVER)
        began = time.perf_counter()
        await submit([probe])
        return [time.perf_counter() - began] * len(asked)

    # --- dead letters -------------------------------------------------------------------------------------------------

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Return up to `limit` dead letters, at most `MOST_LETTERS`, oldest first.

        Raises:
            UnsupportedError: there is no queue, or it keeps none.
            UnavailableError: it cannot be asked.
        """
        self._letters()
        with ChangingNothing():
            return await self._listings(limit)

    async def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - what it is called everywhere
        """Return a dead letter, if it is among the first `MOST_LETTERS` that the queue lists. For errors see `dead_letters`."""
        return next((letter for letter in await self.dead_letters(MOST_LETTERS) if letter.id == id), None)

    async def replay(self, ids: Sequence[str]) -> int:
        """Put dead letters back on their way to the store; return how many there were.

        Raises:
            UnsupportedError: there is no queue, or it keeps none.
            UnavailableError: the queue cannot be asked, or has not answered; doing it again is safe.
        """
        queue, letters = self._letters()
        return await _patient(queue, "replay", letters.replay)(ids)

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget dead letters for good; return how many there were. For errors see `replay`."""
        queue, letters = self._letters()
        return await _patient(queue, "discard", letters.discard)(ids)

    async def _list(self, limits: Sequence[int]) -> Sequence[Sequence[DeadLetter]]:
        queue, letters = self._letters()
        listed = _patient(queue, "dead-letters", letters.dead_letters)
        return [await listed(limit) for limit in limits]

    def _letters(self) -> tuple[Tier[Queue], DeadLetters]:
        queue = self._chosen_queue()
        return queue, dead_letters_of(queue.backend)

    def _chosen_queue(self) -> Tier[Queue]:
        if self._queue is None:
            raise UnsupportedError(
                "this node runs without a queue (queue.backend): each write goes to the store at once"
            )
        return self._queue


def _patient(tier: Tier[Any], operation: str, call: Callable[[T], Awaitable[U]]) -> Callable[[T], Awaitable[U]]:
    return tier.guarded(operation, call, deadline_s=_PATIENCE_S, slow_is_failure=False)


def _single(name: str, call: Callable[[Sequence[T]], Awaitable[Sequence[U]]]) -> Batcher[T, U]:
    return Batcher(call, name=name, in_flight=1, batch=1, waiting=_ASKING, joined=True)
