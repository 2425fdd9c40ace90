"""What is counted of the calls to the tiers, and of their connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from kvcore.backends import Ability, Kind, Pooled, pool_of
from kvcore.metrics.families import Count, Families
from kvcore.tiers import BreakerState, CallOutcome, Tier

__all__ = ("TierMetrics",)

logger = logging.getLogger(__name__)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_OPERATION = "the name of the call: see [the contracts](plugins.md)"


class TierMetrics:
    """Of bulk calls, circuit breakers and connections, by tier."""

    def __init__(self, families: Families) -> None:
        kinds = get_args(Kind)
        self._batches = families.histogram(
            "kvcore_batch_items",
            "Items joined into one bulk call: from 1 on an idle node, to the tier's batch on a busy one.",
            _ITEMS,
            tier=kinds,
            operation=f"{_OPERATION}; `fill`: keys that the cache lacked, read and left there",
        )
        self._calls = families.histogram(
            "kvcore_backend_call_duration_seconds",
            "How long bulk calls to the backend of a tier took, by how they ended: ok; overloaded, it took none of it; unavailable;"
            " timeout, no answer within the deadline; fault, it raised what its contract does not allow; cancelled, nobody"
            " waited any more. An outcome other than ok is there from the first time on.",
            _SECONDS,
            tier=kinds,
            operation=_OPERATION,
            outcome=get_args(CallOutcome),
        )
        self._breakers = families.gauge(
            "kvcore_breaker_open",
            "1 while the circuit breaker of a tier is not closed: it failed a moment ago, and is asked for a trial only.",
            tier=kinds,
        )
        self._transitions = families.counter(
            "kvcore_breaker_transitions_total",
            "Times that the circuit breaker of a tier has entered a state. Often: the tier comes and goes.",
            tier=kinds,
            state=tuple(BreakerState),
        )
        self._refused = families.counter(
            "kvcore_breaker_refused_calls_total",
            "Bulk calls that were not made since the circuit breaker of the tier was open.",
            tier=kinds,
        )
        self._pools = _PoolMetrics(families)

    def batches(self, tier: Kind, operation: str) -> Callable[[int], None]:
        """Return the function that notes the size of a bulk call."""
        return self._batches.labels(tier, operation).observe

    def calls(self, tier: Kind, operation: str) -> Callable[[CallOutcome, float], None]:
        """Return the function that notes how a call to a backend ended, and after how many seconds."""
        bound = partial(self._calls.labels, tier, operation)
        observers: dict[CallOutcome, Callable[[float], None]] = {"ok": bound("ok").observe}

        def ended(outcome: CallOutcome, seconds: float) -> None:
            observe = observers.get(outcome)
            if observe is None:
                observe = observers[outcome] = bound(outcome).observe
            observe(seconds)

        return ended

    def breaker_entered(self, tier: Kind, state: BreakerState) -> None:
        """Note that the circuit breaker of a tier has entered a state."""
        self._transitions.labels(tier, state.value).inc()

    def refused(self, tier: Kind) -> Callable[[], None]:
        """Return the function that notes a call which the circuit breaker of a tier did not let through."""
        return self._refused.labels(tier).inc

    def watch(self, tier: Tier[Any]) -> None:
        """Show the state of a tier's circuit breaker, and its backend's connections where it tells of them."""
        for state in BreakerState:
            self._transitions.labels(tier.kind, state.value)
        self._breakers.labels(tier.kind).set_function(lambda: tier.breaker.state is not BreakerState.CLOSED)
        if Ability.POOL in tier.backend.abilities:
            self._pools.watch(tier.kind, pool_of(tier.backend))


class _PoolMetrics:
    """The connections of backends, which are asked whenever the metrics are."""

    def __init__(self, families: Families) -> None:
        kinds = get_args(Kind)
        self._connections = families.gauge(
            "kvcore_backend_connections",
            "Connections of the backend to its servers that are open, and those of them that are in use.",
            tier=kinds,
            state=("open", "in-use"),
        )
        self._limit = families.gauge(
            "kvcore_backend_connections_limit",
            "Most connections that the backend opens. When so many are in use, calls wait for one. Missing where they never do,"
            " since a connection carries any number of calls, as to RabbitMQ.",
            tier=kinds,
        )
        self._retries = families.counter(
            "kvcore_backend_retries_total",
            "What the backend has tried again by itself, unseen by whoever has called: statements, or to connect. Many:"
            " servers that come and go, or writers in each other's way.",
            tier=kinds,
        )
        self._pools: dict[Kind, tuple[Pooled, Count]] = {}
        families.beforehand(self._look)

    def watch(self, tier: Kind, pooled: Pooled) -> None:
        self._pools[tier] = pooled, self._retries.labels(tier)

    def _look(self) -> None:
        self._connections.clear()
        self._limit.clear()
        for tier, (pooled, retries) in self._pools.items():
            try:
                stats = pooled.pool()
            except Exception:  # a fault of the backend, for which nobody shall lack the other metrics
                logger.exception("the %s raised what its contract does not allow", tier)
                continue
            self._connections.labels(tier, "open").set(stats.open)
            self._connections.labels(tier, "in-use").set(stats.in_use)
            if stats.limit is not None:
                self._limit.labels(tier).set(stats.limit)
            retries.value = stats.retries
