"""Writing to the store without a queue: because there is none, or because it is down.

Apply → refresh the cache → answer. The store may answer too late, or fail in a way that leaves open whether it has
applied a write, or still will, behind the cache's back: an entry that a reader filled meanwhile would then stay, older
than what the store holds. So writes of unknown outcome are not forgotten when their clients have been told. Each is
applied again, which its version makes harmless, until the store says what it has, and then the cache is refreshed. What
waits for that is bounded in number, by refusing further direct writes with nothing done, and in time: a write that the
store cannot take is given up, and whatever the cache has that is not newer is dropped. What remains is the end of this
process in between; see docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from kvcore.applying import (
    Apply,
    Lifetimes,
    Write,
    about_mutation,
    apply_all,
    log_outcomes,
    newly_applied,
    origin_of,
    refreshes,
)
from kvcore.backends import Refresh
from kvcore.errors import CircuitOpenError, UnavailableError
from kvcore.metrics import WriteMetrics
from kvcore.model import Mutation, Outcome, Verdict
from kvcore.tracing import ORIGIN

__all__ = ("DirectWrites",)

logger = logging.getLogger(__name__)

_MOST_UNSETTLED: Final = 256
"""From here on direct writes are refused; the bulk calls under way may still add theirs."""
_MOST_AT_ONCE: Final = 256
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_PATIENCE_S: Final = 30.0


class DirectWrites:
    """Applies writes to the store and refreshes the cache, and settles later what is unknown at first."""

    def __init__(
        self,
        *,
        apply: Apply,
        refresh: Callable[[Sequence[Refresh]], Awaitable[Any]],
        lifetimes: Lifetimes,
        metrics: WriteMetrics,
        applied: Callable[[Sequence[Mutation]], None],
        logs_mutations: bool,
    ) -> None:
        self._apply = apply
        self._refresh = refresh
        self._lifetimes = lifetimes
        self._metrics = metrics
        self._applied = applied
        self._logs_mutations = logs_mutations
        self._unsettled: deque[tuple[Write, float]] = deque()  # with the time at which it is given up
        self._settling: asyncio.Task[None] | None = None
        metrics.unsettled.set_function(lambda: len(self._unsettled))

    async def apply(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Apply writes and bring the cache in step; return one outcome for each.

        Raises:
            UnavailableError: with outcome "unknown" if any may have been applied, or may still be.
        """
        if len(self._unsettled) >= _MOST_UNSETTLED:
            raise CircuitOpenError("the store has not said yet what became of earlier writes")
        try:
            return await self._applied_and_refreshed(writes)
        except UnavailableError as error:
            if error.outcome == "unknown":
                self._settle_later(writes)
            raise

    async def aclose(self) -> None:
        """Stop settling."""
        if self._settling is not None:
            self._settling.cancel()
            with suppress(asyncio.CancelledError):
                await self._settling

    async def _applied_and_refreshed(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        mutations = [write.mutation for write in writes]
        outcomes = await apply_all(self._apply, mutations)
        missed = refreshes(writes, outcomes, self._lifetimes)
        try:
            await self._refresh(missed)
        except UnavailableError as error:
            # The entries that this leaves behind, if any, end with their lifetime: "the one window" in
            # docs/guarantees.md.
            logger.warning("%d keys written directly could not be refreshed in the cache: %s", len(missed), error)
        self._metrics.count(outcomes)
        if self._logs_mutations:
            log_outcomes(mutations, outcomes)
        self._applied(newly_applied(mutations, outcomes))
        return outcomes

    def _settle_later(self, writes: Sequence[Write]) -> None:
        until = asyncio.get_running_loop().time() + _PATIENCE_S
        self._unsettled.extend((write, until) for write in writes)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(), name="settle direct writes")

    async def _settle(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._unsettled:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            left, at_once = len(self._unsettled), 1
            while left:
                some = list(islice(self._unsettled, min(at_once, left)))
                settled = await self._are_settled(some)
                for _ in some:
                    self._unsettled.popleft()
                left -= len(some)
                if settled:
                    at_once = min(2 * at_once, _MOST_AT_ONCE)  # the store works again
                else:
                    self._unsettled.extend(some)  # the others are not made to wait for these

    async def _are_settled(self, some: Sequence[tuple[Write, float]]) -> bool:
        """Apply writes again, and tell whether that is the end of it; one that is alone is given up when its time is over."""
        writes = [write for write, _ in some]
        # This task was begun for the request that was the first to fail.
        ORIGIN.set(origin_of(write.mutation for write in writes))
        try:
            await self._applied_and_refreshed(writes)
        except UnavailableError as error:
            if len(some) > 1 or asyncio.get_running_loop().time() < some[0][1]:
                return False
            told = about_mutation(writes[0].mutation)
            logger.error("gave up asking what became of a mutation: %s", error, extra=told)  # noqa: TRY400 - no fault of ours
            refused = refreshes(writes, [Outcome(Verdict.REJECTED)], self._lifetimes)
            with suppress(UnavailableError):
                await self._refresh(refused)
        return True
