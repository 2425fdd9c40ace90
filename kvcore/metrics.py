"""What a node counts about itself, in Prometheus' terms. Each node has a registry of its own: nothing is global."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kvcore.backends import Kind, QueueStats
from kvcore.clock import version_ms
from kvcore.model import Outcome, Version
from kvcore.tiers import BreakerState, CallOutcome, Tier

__all__ = ("Limit", "Metrics")

Limit = Literal[
    "address-rate",
    "token-rate",
    "concurrent-requests",
    "waiting-readers",
    "connections",
    "buffered-bytes",
    "head-size",
    "head-timeout",
    "body-timeout",
    "send-timeout",
]
"""What requests are refused and connections are cut off by, besides the sizes that an answer of their own tells of."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one node. Children are bound once, since looking one up costs more than counting."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Histogram(
            "kvcore_http_request_duration_seconds",
            "Time from a request's head to the end of its answer, by operation (as in the OpenAPI document; none: there is no such"
            " operation, or it was refused before that was known) and status.",
            ("operation", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "kvcore_http_requests_in_progress", "Requests that are being served.", registry=self.registry
        )
        self.connections = Gauge("kvcore_http_connections", "Connections that are open.", registry=self.registry)
        self.buffered = Gauge(
            "kvcore_http_buffered_bytes",
            "Bytes of bodies that are being received, and of answers that clients have not taken yet.",
            registry=self.registry,
        )
        self._limited = Counter(
            "kvcore_http_limited",
            "Requests refused and connections cut off, by limit: see docs/limits.md.",
            ("limit",),
            registry=self.registry,
        )
        for limit in get_args(Limit):
            self._limited.labels(limit)  # so that it is there before it happens
        self.auth_file_errors = Counter(
            "kvcore_auth_file_errors",
            "Changes of auth.file after which it could not be read or understood; the tokens that it listed before stay in force.",
            registry=self.registry,
        )
        self.batch_operations = Counter(
            "kvcore_batch_operations",
            "Operations of batches, by kind and by the status of their results: a batch as a whole is answered 200.",
            ("operation", "status"),
            registry=self.registry,
        )
        reads = Counter(
            "kvcore_cache_reads",
            "Reads by what the cache had: hit, miss, or bypass (not asked or not there).",
            ("result",),
            registry=self.registry,
        )
        self.cache_hit, self.cache_miss, self.cache_bypass = (reads.labels(name) for name in ("hit", "miss", "bypass"))
        self._mutations = Counter(
            "kvcore_mutations",
            "Mutations that this process gave to the store, by outcome.",
            ("verdict",),
            registry=self.registry,
        )
        self._lag = Histogram(
            "kvcore_lag_seconds",
            "Time from the stamping of a mutation to its place in the store, as the worker that applied it sees it.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        self._oldest: Version | None = None
        Gauge(
            "kvcore_lag_oldest_seconds",
            "How long ago the oldest mutation was stamped that this worker has in hand and the store does not have yet; 0: none.",
            registry=self.registry,
        ).set_function(self._oldest_s)
        self.redelivered = Counter(
            "kvcore_redelivered_mutations",
            "Mutations that a worker took which may have been in other hands before.",
            registry=self.registry,
        )
        self.put_off = Counter(
            "kvcore_refreshes_put_off",
            "Refreshes put on the queue since the cache could not be reached.",
            registry=self.registry,
        )
        self._queue = Gauge(
            "kvcore_queue_messages",
            "Messages in the queue, by channel and state (waiting, or unsettled: in the hands of this worker, or of all where"
            " the server tells), as a worker saw it last; a message may hold several mutations.",
            ("channel", "state"),
            registry=self.registry,
        )
        self._consumers = Gauge(
            "kvcore_queue_consumers",
            "Workers on a channel, as a worker saw it last.",
            ("channel",),
            registry=self.registry,
        )
        self._dead_letters = Gauge(
            "kvcore_queue_dead_letters", "Dead letters kept, as a worker saw it last.", registry=self.registry
        )
        self._dead_letters.set(math.nan)
        self._batches = Histogram(
            "kvcore_batch_items",
            "Items joined into one bulk call, by tier and operation.",
            ("tier", "operation"),
            buckets=_ITEMS,
            registry=self.registry,
        )
        self._calls = Histogram(
            "kvcore_backend_call_duration_seconds",
            "Time of bulk calls to the backend of a tier, by operation and outcome: ok, overloaded (it took none of it), unavailable,"
            " timeout, fault (it raised what its contract does not allow) or cancelled.",
            ("tier", "operation", "outcome"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "kvcore_breaker_refused_calls",
            "Bulk calls that were not made since the circuit breaker of the tier was open.",
            ("tier",),
            registry=self.registry,
        )
        self._transitions = Counter(
            "kvcore_breaker_transitions",
            "Times that the circuit breaker of a tier has entered a state: open, half-open or closed.",
            ("tier", "state"),
            registry=self.registry,
        )
        self._breakers = Gauge(
            "kvcore_breaker_open",
            "1 while the circuit breaker of a tier is not closed.",
            ("tier",),
            registry=self.registry,
        )

    def describe(self) -> list[Metric]:
        """Return all metrics by name, those that count nothing yet included."""
        return sorted(self.registry.collect(), key=lambda family: family.name)

    def limited(self, limit: Limit) -> None:
        """Count a request that was refused, or a connection that was cut off."""
        self._limited.labels(limit).inc()

    def count(self, outcomes: Iterable[Outcome]) -> None:
        """Count what became of mutations."""
        for verdict, number in collections.Counter(outcome.verdict for outcome in outcomes).items():
            self._mutations.labels(verdict.value).inc(number)

    def in_hand(self, oldest: Version | None) -> None:
        """Show how old the oldest mutation in hand is; None: there is none."""
        self._oldest = oldest

    def _oldest_s(self) -> float:
        return 0.0 if self._oldest is None else max(0.0, time.time() - version_ms(self._oldest) / 1000)

    def applied(self, versions: Iterable[Version], now_ms: int) -> None:
        """Note how long mutations took from their stamping until now, at which the store has them."""
        observe = self._lag.observe
        for version in versions:
            observe(max(0, now_ms - version_ms(version)) / 1000)

    def saw(self, queue: QueueStats | None) -> None:
        """Show a queue in numbers; None: it cannot be asked."""
        if queue is None:
            for gauge in (self._queue, self._consumers):
                gauge.clear()
            self._dead_letters.set(math.nan)
            return
        for state, numbers in (("waiting", queue.waiting), ("unsettled", queue.unsettled or {})):
            for channel, number in numbers.items():
                self._queue.labels(channel, state).set(number)
        for channel, number in queue.consumers.items():
            self._consumers.labels(channel).set(number)
        self._dead_letters.set(math.nan if queue.dead_letters is None else queue.dead_letters)

    def batches(self, tier: str, operation: str) -> Callable[[int], None]:
        """Return the function that notes the size of a bulk call."""
        observe: Callable[[float], None] = self._batches.labels(tier, operation).observe
        return observe

    def calls(self, kind: Kind, operation: str) -> Callable[[CallOutcome, float], None]:
        """Return the function that notes how a call to a backend ended, and after how many seconds."""
        observers: dict[CallOutcome, Callable[[float], None]] = {}
        bound = self._calls.labels

        def ended(outcome: CallOutcome, seconds: float) -> None:
            observe = observers.get(outcome)
            if observe is None:
                observe = observers[outcome] = bound(kind, operation, outcome).observe
            observe(seconds)

        return ended

    def breaker_entered(self, kind: Kind, state: BreakerState) -> None:
        """Note that the circuit breaker of a tier has entered a state."""
        self._transitions.labels(kind, state.value).inc()

    def refused(self, kind: Kind) -> Callable[[], None]:
        """Return the function that notes a call which the circuit breaker of a tier did not let through."""
        return self._refused.labels(kind).inc

    def watch(self, tier: Tier[object]) -> None:
        """Show the state of a tier's circuit breaker."""
        self._breakers.labels(tier.kind).set_function(lambda: tier.breaker.state is not BreakerState.CLOSED)
