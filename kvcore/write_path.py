"""The write path: reserve the key's slot in the cache; then the queue and the cache, or, past the queue, the store and the cache.

The queue's confirm comes before the entry is in the cache: nobody reads what was never accepted. A failing cache never
fails a write. See `kvcore.slots` for why the steps have this order, and `kvcore.direct` for writes without a queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from kvcore.applying import Lifetimes, Write
from kvcore.backends import Cache, Install, Queue, Reserve, Store
from kvcore.batching import Batcher
from kvcore.direct import DirectWrites
from kvcore.errors import OverloadedError, UnavailableError
from kvcore.metrics import Metrics
from kvcore.model import Mutation, Outcome, Verdict, Version
from kvcore.slots import Reservation
from kvcore.tiers import Tier, nothing_of

__all__ = ("WritePath",)

logger = logging.getLogger(__name__)


class WritePath:
    """Brings single mutations to where they last, joining what is sent at the same time into bulk calls.

    `applied` is told of mutations that the store has taken past the queue; each is a line in the log with
    `logs_mutations`.
    """

    def __init__(
        self,
        cache: Tier[Cache],
        queue: Tier[Queue] | None,
        store: Tier[Store],
        *,
        lifetimes: Lifetimes,
        metrics: Metrics,
        applied: Callable[[Sequence[Mutation]], None],
        logs_mutations: bool,
    ) -> None:
        self._lifetimes = lifetimes
        self._metrics = metrics.writes
        self._has_queue = queue is not None
        self._direct = DirectWrites(
            apply=store.guarded("apply", store.backend.apply),
            refresh=cache.guarded("refresh", cache.backend.refresh),
            lifetimes=lifetimes,
            metrics=metrics.writes,
            applied=applied,
            logs_mutations=logs_mutations,
        )
        batches = metrics.tiers.batches
        self._reserve = cache.batcher(
            cache.guarded("reserve", cache.backend.reserve), observe=batches("cache", "reserve")
        )
        self._install = cache.batcher(
            nothing_of(cache.guarded("install", cache.backend.install)),
            weigh=_weight_of_install,
            observe=batches("cache", "install"),
        )
        self._apply = store.batcher(self._direct.apply, weigh=_weight_of_write, observe=batches("store", "apply"))
        self._batchers: list[Batcher[Any, Any]] = [self._reserve, self._install, self._apply]
        if queue is not None:
            publish = queue.guarded("publish", partial(queue.backend.publish, "writes"))
            self._publish = queue.batcher(nothing_of(publish), weigh=_weight, observe=batches("queue", "publish"))
            self._submit = queue.batcher(
                # A worker that does not answer says nothing about the queue.
                queue.guarded("submit", queue.backend.submit, slow_is_failure=False),
                weigh=_weight,
                observe=batches("queue", "submit"),
            )
            self._batchers += [self._publish, self._submit]

    async def aclose(self) -> None:
        """Wait for what is under way."""
        for batcher in self._batchers:
            await batcher.aclose()
        await self._direct.aclose()

    async def reserve(self, key: str, token: str) -> Version | None:
        """Announce a write to the cache; return the newest version that it knows of the key, if it can be asked and has one."""
        lease_ms = self._lifetimes.lease_ms
        try:
            slot: Reservation = await self._reserve(Reserve(key, token, reader=False, lifetime_ms=lease_ms))
        except UnavailableError:
            return None
        return slot.version

    async def send(self, mutation: Mutation, token: str, *, accept: bool) -> Outcome | None:
        """Send a mutation through the queue, or, when there is none or it is down, straight to the store.

        None: the queue has accepted it, which is enough where `accept` says so. `token`: of the reservation, if there is
        one.

        Raises:
            UnavailableError: `outcome` tells what became of it.
        """
        ambiguous = False
        if self._has_queue:
            try:
                if not accept:
                    outcome = await self._submit(mutation)
                    self._metrics.ways["queue"].inc()
                    return outcome
                await self._publish(mutation)
            except OverloadedError:
                raise
            except UnavailableError as error:
                logger.debug("not through the queue: %s", error)
                ambiguous = error.outcome == "unknown"
            else:
                self._metrics.ways["queue"].inc()
                await self._show(mutation, token)
                return None
        try:
            outcome = await self._apply(Write(mutation, token))
        except UnavailableError as error:
            if ambiguous:
                error.outcome = "unknown"
            raise
        self._metrics.ways["store"].inc()
        if self._has_queue:
            self._metrics.past_queue.inc()
        if ambiguous and not mutation.request_id and outcome.verdict in (Verdict.CONFLICT, Verdict.SUPERSEDED):
            # A worker may have applied it before what is newer came. It must neither be called failed nor be stamped anew.
            return msgspec.structs.replace(outcome, verdict=Verdict.UNKNOWN)
        return outcome

    async def _show(self, mutation: Mutation, token: str) -> None:
        """Let the cache have what the queue has accepted."""
        try:
            await self._install(Install(mutation.key, mutation.entry, token, self._lifetimes.pending_ms()))
        except UnavailableError as error:
            logger.debug("not installed in the cache: %s", error)


def _weight(mutation: Mutation) -> int:
    return mutation.size_bytes


def _weight_of_write(write: Write) -> int:
    return write.mutation.size_bytes


def _weight_of_install(install: Install) -> int:
    return len(install.key) + len(install.entry.value or b"") + 64
