"""The worker: drains the queue into the store, and keeps the cache in step.

Take → apply → refresh → settle. Nothing is settled before both are done, so a crash anywhere leads to a redelivery,
which the store's guard makes harmless. While the store cannot be reached the worker keeps what it has in hand and tries
again: the queue is the buffer. While the cache cannot be reached, what it misses goes to the durable channel
"refreshes", from where it is delivered when the cache is back. Workers compete; start as many as are needed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from kvcore.applying import (
    Lifetimes,
    Write,
    about_mutation,
    apply_all,
    log_outcomes,
    newly_applied,
    origin_of,
    refreshes,
)
from kvcore.backends import Ability, Cache, Channel, Delivery, Prefetching, Queue, Refresh, Store, prefetching_of
from kvcore.errors import CircuitOpenError, UnavailableError
from kvcore.metrics import Count, Metrics, Retried
from kvcore.model import Entry, Mutation, Outcome, Verdict
from kvcore.settings import Settings
from kvcore.tiers import Tier
from kvcore.tracing import ORIGIN, span_of

__all__ = ("Worker",)

logger = logging.getLogger(__name__)

_STATS_INTERVAL_S: Final = 5.0

T = TypeVar("T")


class _Retrying:
    """The pauses between tries of one thing. Says once what is wrong, and once that it is over."""

    def __init__(self, what: str, backoff_s: float, counted: Count) -> None:
        self._what = what
        self._counted = counted
        self._first_s = self._pause_s = backoff_s
        self._said = ""

    async def pause(self, error: Exception) -> None:
        """Wait before the next try: longer each time, up to 16 times the first."""
        is_known = str(error) == self._said or (self._said and isinstance(error, CircuitOpenError))
        if not is_known:
            self._said = str(error)
            logger.warning("%s: %s; trying until it works", self._what, error)
        self._counted.inc()
        await asyncio.sleep(self._pause_s)  # backoff: what is away tells nobody when it is back
        self._pause_s = min(2 * self._pause_s, 16 * self._first_s)

    def worked(self) -> None:
        """Begin anew with short pauses."""
        self._pause_s = self._first_s
        if self._said:
            logger.info("%s: works again", self._what)
            self._said = ""


class Worker:
    """Consumes both channels until it is cancelled; what it has received by then is finished, within `worker.shutdown_s`."""

    def __init__(
        self,
        settings: Settings,
        *,
        cache: Tier[Cache],
        queue: Tier[Queue],
        store: Tier[Store],
        metrics: Metrics,
        applied: Callable[[Sequence[Mutation]], None] = lambda mutations: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings.worker
        self._now_ms = now_ms
        self._queue = queue.backend
        self._lifetimes = Lifetimes(settings.cache)
        self._metrics = metrics.worker
        self._writes = metrics.writes
        self._applied = applied
        deadline_s = settings.worker.deadline_s
        self._deadline_s = deadline_s
        self._stats = queue.guarded("stats", lambda _: queue.backend.stats())
        self._publish = queue.guarded("publish", partial(queue.backend.publish, "refreshes"), deadline_s=deadline_s)
        self._apply = store.guarded("apply", store.backend.apply, deadline_s=deadline_s)
        self._refresh = cache.guarded("refresh", cache.backend.refresh, deadline_s=deadline_s)
        self._hurried = asyncio.Event()
        self._ends_s: float | None = None
        self._tracer = queue.tracer
        self._logs_mutations = settings.log.requests

    def hurry(self) -> None:
        """Do not finish what is in hand when cancelled, or when it was cancelled before: it will be delivered again."""
        self._hurried.set()

    async def run(self) -> None:
        """Consume both channels for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._consume("writes", self._handle_writes))
            group.create_task(self._consume("refreshes", self._handle_refreshes))
            group.create_task(self._watch())

    async def _watch(self) -> None:
        """Show the depth of the queue in the metrics, now and at every interval."""
        while True:
            try:
                self._metrics.saw(await self._stats(None))
            except UnavailableError:
                self._metrics.saw(None)
            await asyncio.sleep(_STATS_INTERVAL_S)  # an interval of looking, not a wait for anything

    async def _consume(self, channel: Channel, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        counted = self._metrics.retries("consume-writes" if channel == "writes" else "consume-refreshes")
        retrying = _Retrying(f"consuming {channel}", self._settings.backoff_s, counted)
        while True:
            try:
                async with self._queue.consume(channel, self._settings.batch) as deliveries:
                    try:
                        async for delivery in deliveries:
                            retrying.worked()
                            await self._finish(self._traced(channel, handle, delivery))
                    except asyncio.CancelledError:
                        if Ability.PREFETCHING in self._queue.abilities:
                            prefetching = prefetching_of(self._queue, deliveries)
                            await self._for_a_while(asyncio.ensure_future(self._empty(channel, handle, prefetching)))
                        raise
            except UnavailableError as error:
                await retrying.pause(error)
            except Exception as error:  # a fault of the queue's backend, which must not end the worker
                logger.exception("the queue raised what its contract does not allow")
                await retrying.pause(error)

    async def _traced(
        self, channel: Channel, handle: Callable[[Delivery], Awaitable[None]], delivery: Delivery
    ) -> None:
        """Handle a delivery in the traces of its mutations: in a span of its own, where there is a tracer."""
        origin = origin_of(message.mutation for message in delivery.messages)
        if self._tracer is None:
            ORIGIN.set(origin)  # in the context of a task that handles one delivery at a time
            await handle(delivery)
            return
        count = {"messaging.batch.message_count": len(delivery.messages)}
        with span_of(self._tracer, f"{channel} process", "consumer", origin, count):
            await handle(delivery)

    async def _finish(self, handling: Awaitable[None]) -> None:
        """Wait for a delivery's end; when this worker is cancelled, let it end all the same, for a while."""
        task = asyncio.ensure_future(handling)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._for_a_while(task)
            raise

    async def _empty(
        self, channel: Channel, handle: Callable[[Delivery], Awaitable[None]], deliveries: Prefetching
    ) -> None:
        """Handle what was received before this worker was cancelled, and receive nothing more."""
        await deliveries.stop()
        async for delivery in deliveries:
            await self._traced(channel, handle, delivery)

    async def _for_a_while(self, task: asyncio.Task[None]) -> None:
        """Wait for the end of what a cancelled worker still does, until its time is over or somebody is in a hurry."""
        now_s = asyncio.get_running_loop().time()
        if self._ends_s is None:
            self._ends_s = now_s + self._settings.shutdown_s
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait([task, hurried], timeout=max(0.0, self._ends_s - now_s), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not task.done():
            logger.warning("stopped with a delivery in hand: it will be delivered again")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _until_available(self, call: Callable[[], Awaitable[T]], saying: str, what: Retried) -> T:
        """Call until it does not raise `UnavailableError`."""
        retrying = _Retrying(saying, self._settings.backoff_s, self._metrics.retries(what))
        while True:
            try:
                result = await call()
            except UnavailableError as error:
                await retrying.pause(error)
            else:
                retrying.worked()
                return result

    async def _handle_writes(self, delivery: Delivery) -> None:
        messages = delivery.messages
        mutations = [message.mutation for message in messages]
        stamped = [mutation.version for mutation in mutations if not mutation.restored]
        self._metrics.in_hand(min(stamped, default=None))
        uncertain = False

        async def apply() -> Sequence[Outcome]:
            nonlocal uncertain
            try:
                return await apply_all(self._apply, mutations)
            except UnavailableError as error:
                uncertain = uncertain or error.outcome == "unknown"
                raise

        try:
            outcomes = await self._until_available(apply, "applying", "apply")
        finally:
            self._metrics.in_hand(None)
        self._metrics.applied(stamped, self._now_ms())
        missed = refreshes([Write(mutation) for mutation in mutations], outcomes, self._lifetimes)
        await self._until_available(lambda: self._refresh_or_put_off(missed), "telling the cache", "refresh")
        self._writes.count(
            outcome for mutation, outcome in zip(mutations, outcomes, strict=True) if not mutation.is_probe
        )
        self._metrics.redelivered.inc(sum(message.redelivered for message in messages))
        for mutation, outcome in zip(mutations, outcomes, strict=True):
            if outcome.verdict is Verdict.REJECTED:
                logger.error("the store refuses a mutation: %s", outcome.reason, extra=about_mutation(mutation))
        if self._logs_mutations:
            log_outcomes(mutations, outcomes)
        self._applied(newly_applied(mutations, outcomes))
        answers = [
            # What a request was answered the first time is remembered, and no guess.
            _as_answered(outcome, repeated=(uncertain or message.redelivered) and not message.mutation.request_id)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]
        await self._settle(delivery, answers)

    async def _refresh_or_put_off(self, missed: Sequence[Refresh]) -> None:
        """Tell the cache now, or else later. Each try begins with the cache: a full queue must not wait for itself."""
        try:
            await self._refresh(missed)
        except UnavailableError as error:
            await self._publish([Mutation(refresh.key, Entry(refresh.version)) for refresh in missed])
            self._metrics.put_off.inc(len(missed))
            logger.warning("%d refreshes put off until the cache is back: %s", len(missed), error)

    async def _handle_refreshes(self, delivery: Delivery) -> None:
        """Drop what the cache holds below the versions named; whoever reads next fills it from the store."""
        missed = [
            Refresh(message.mutation.key, message.mutation.version, None, self._lifetimes.lease_ms)
            for message in delivery.messages
        ]
        await self._until_available(lambda: self._refresh(missed), "refreshing the cache", "late-refresh")
        await self._settle(delivery, [Outcome(Verdict.APPLIED, refresh.version) for refresh in missed])

    async def _settle(self, delivery: Delivery, outcomes: Sequence[Outcome]) -> None:
        """End a delivery, within the deadline: what was not settled comes again, which is better than to wait for ever."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await delivery.settle(outcomes)
        except TimeoutError:
            raise UnavailableError(f"the queue did not settle a delivery within {self._deadline_s:g} s") from None


def _as_answered(outcome: Outcome, *, repeated: bool) -> Outcome:
    """Admit that a repeated mutation may have been applied the first time, before something newer came.

    To say that its condition failed, or to let its writer stamp it anew, would then be wrong: it has had its effect.
    """
    if repeated and outcome.verdict in (Verdict.CONFLICT, Verdict.SUPERSEDED):
        return msgspec.structs.replace(outcome, verdict=Verdict.UNKNOWN)
    return outcome
