"""A tier in service: its backend behind a deadline and a circuit breaker.

Any tier may fail. A call that fails or takes too long costs those who wait for it at most the deadline; after a few
such calls in a row the breaker opens, and whoever asks is refused at once, until one trial call succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from kvcore.backends import Kind
from kvcore.batching import Batcher
from kvcore.errors import CircuitOpenError, OverloadedError, UnavailableError
from kvcore.settings import TierSettings
from kvcore.tracing import ORIGIN, Tracer, span_of

__all__ = ("Breaker", "BreakerState", "CallOutcome", "Tier")

logger = logging.getLogger(__name__)

B = TypeVar("B")
Item = TypeVar("Item")
Result = TypeVar("Result")


CallOutcome = Literal["ok", "overloaded", "unavailable", "timeout", "fault", "cancelled"]
"""How a call to a backend ended. "fault": it raised what its contract does not allow."""

Ended = Callable[[CallOutcome, float], None]
"""Is told how a call ended, and after how many seconds."""


def _nobody_cares(operation: str) -> Ended:
    return lambda outcome, seconds: None


class BreakerState(StrEnum):
    """Whether calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after `failures` failed calls in a row; `recovery_s` later it lets one call through as a trial.

    The trial's success closes the breaker, its failure opens it for another `recovery_s`.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        recovery_s: float,
        clock: Callable[[], float] = time.monotonic,
        entered: Callable[[BreakerState], None] = lambda state: None,
    ) -> None:
        self._name = name
        self._entered = entered
        self._failures = failures
        self._recovery_s = recovery_s
        self._clock = clock
        self._failed = 0
        self._retry_at = 0.0
        self.state = BreakerState.CLOSED

    def admit(self) -> None:
        """Return when a call may be made; every call admitted ends with `succeeded`, `failed` or `abandoned`.

        Raises:
            CircuitOpenError: it may not.
        """
        if self.state is BreakerState.CLOSED:
            return
        wait = self._retry_at - self._clock()
        if self.state is BreakerState.HALF_OPEN or wait > 0:
            raise CircuitOpenError(
                f"{self._name} failed a moment ago and is not asked now", retry_after_s=max(wait, 0.1)
            )
        self._enter(BreakerState.HALF_OPEN)

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._failed = 0
        if self.state is not BreakerState.CLOSED:
            self._enter(BreakerState.CLOSED)

    def failed(self) -> None:
        """Note that a call was not answered, or that the tier said it cannot serve."""
        self._failed += 1
        if self.state is BreakerState.HALF_OPEN or self._failed >= self._failures:
            self._retry_at = self._clock() + self._recovery_s
            if self.state is not BreakerState.OPEN:
                self._enter(BreakerState.OPEN)

    def abandoned(self) -> None:
        """Note that a call ended without telling anything: it was cancelled."""
        if self.state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.OPEN)

    def pinged(self) -> None:
        """Note that the tier has answered a ping: where no call comes along as a trial, this is one."""
        if self.state is BreakerState.OPEN and self._clock() >= self._retry_at:
            self.succeeded()

    def _enter(self, state: BreakerState) -> None:
        # A trial and its failure say nothing new.
        if state is BreakerState.CLOSED:
            logger.info("%s works again", self._name)
        elif self.state is BreakerState.CLOSED:
            logger.warning("%s failed %d times in a row: its circuit breaker is open", self._name, self._failed)
        self.state = state
        self._entered(state)


class Tier(Generic[B]):
    """One tier of a running node: the open backend, and the guard around its calls.

    `ended` gives, for the name of an operation, who is told of its calls; `entered` is told the breaker's states, and
    `refused` of calls that it did not let through. With a `tracer` each call is a span.
    """

    def __init__(
        self,
        kind: Kind,
        backend: B,
        settings: TierSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        ended: Callable[[str], Ended] = _nobody_cares,
        entered: Callable[[BreakerState], None] = lambda state: None,
        refused: Callable[[], None] = lambda: None,
        tracer: Tracer | None = None,
    ) -> None:
        self.kind = kind
        self.backend = backend
        self.settings = settings
        self.name = f"the {kind} ({settings.backend})"
        self.breaker = Breaker(
            self.name, failures=settings.failures, recovery_s=settings.recovery_s, clock=clock, entered=entered
        )
        self.tracer = tracer
        self._ended = ended
        self._refused = refused

    def guarded(
        self,
        operation: str,
        call: Callable[[Item], Awaitable[Result]],
        *,
        deadline_s: float | None = None,
        slow_is_failure: bool = True,
    ) -> Callable[[Item], Awaitable[Result]]:
        """Return `call`, an operation of the backend, behind the breaker and with a deadline: the tier's, unless one is given.

        It raises nothing but `UnavailableError`. A call that exceeds the deadline counts as failed unless
        `slow_is_failure` is off.
        """
        limit_s = self.settings.deadline_s if deadline_s is None else deadline_s
        ended = self._ended(operation)

        async def guarded(argument: Item) -> Result:
            self._admit()
            outcome: CallOutcome = "cancelled"
            began = time.perf_counter()
            try:
                async with asyncio.timeout(limit_s):
                    result = await call(argument)
            except TimeoutError:
                outcome = "timeout"
                if slow_is_failure:
                    self.breaker.failed()
                else:
                    self.breaker.abandoned()
                raise UnavailableError(f"{self.name} did not answer within {limit_s:g} s") from None
            except OverloadedError:
                outcome = "overloaded"
                self.breaker.succeeded()  # it answered
                raise
            except UnavailableError:
                outcome = "unavailable"
                self.breaker.failed()
                raise
            except asyncio.CancelledError:
                self.breaker.abandoned()
                task = asyncio.current_task()
                if task is not None and not task.cancelling():
                    # A fault of the backend, which lets out a cancellation of its own: it must not end who called.
                    outcome = "fault"
                    raise UnavailableError(f"{self.name} gave up a call") from None
                raise
            except Exception as error:  # a fault of the backend, which must not take the node with it
                outcome = "fault"
                self.breaker.abandoned()  # it has answered, and others need not be refused for it
                logger.exception("%s raised what its contract does not allow", self.name)
                raise UnavailableError(f"{self.name} failed: {type(error).__name__}") from error
            else:
                outcome = "ok"
                self.breaker.succeeded()
                return result
            finally:
                ended(outcome, time.perf_counter() - began)

        return guarded if self.tracer is None else self._in_span(self.tracer, operation, guarded)

    def _admit(self) -> None:
        try:
            self.breaker.admit()
        except CircuitOpenError:
            self._refused()
            raise

    def _in_span(
        self, tracer: Tracer, operation: str, call: Callable[[Item], Awaitable[Result]]
    ) -> Callable[[Item], Awaitable[Result]]:
        """Return `call` as a span of its own, in the traces that it is made for."""
        name = f"{self.kind}.{operation}"
        about: dict[str, str | int] = {"kvcore.tier": self.kind, "kvcore.backend": self.settings.backend}

        async def spanned(argument: Item) -> Result:
            origin = ORIGIN.get()
            if not origin.traceparents:  # what a node does by itself, such as to purge, belongs to nobody's trace
                return await call(argument)
            with span_of(tracer, name, "client", origin, about):
                return await call(argument)

        return spanned

    def batcher(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        weigh: Callable[[Item], int] | None = None,
        joined: bool = False,
        observe: Callable[[int], None] | None = None,
    ) -> Batcher[Item, Result]:
        """Return a batcher over `call`, with this tier's limits. `call` is guarded already, or made of calls that are."""
        return Batcher(
            call,
            name=self.name,
            in_flight=self.settings.in_flight,
            batch=self.settings.batch,
            waiting=self.settings.waiting,
            batch_bytes=self.settings.batch_bytes,
            waiting_bytes=self.settings.waiting_bytes,
            weigh=weigh,
            joined=joined,
            observe=observe,
            traced=self.tracer is not None,
        )


def nothing_of(
    call: Callable[[Sequence[Item]], Awaitable[Any]],
) -> Callable[[Sequence[Item]], Awaitable[Sequence[None]]]:
    """Give a bulk call that answers nothing the shape that a batcher needs."""

    async def answered(items: Sequence[Item]) -> Sequence[None]:
        await call(items)
        return (None,) * len(items)

    return answered
