"""What is counted of the way from the queue to the store."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Literal, get_args

from kvcore.backends import Channel, QueueStats
from kvcore.clock import version_ms
from kvcore.metrics.families import Count, Families
from kvcore.model import Version

__all__ = ("Retried", "WorkerMetrics")

Retried = Literal["consume-writes", "consume-refreshes", "apply", "refresh", "late-refresh"]
"""What a worker does again until it works: "late-refresh" is one that was put off."""

_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class WorkerMetrics:
    """Of a worker, and of the queue as a worker sees it."""

    def __init__(self, families: Families) -> None:
        self._lag = families.histogram(
            "kvcore_lag_seconds",
            "Time from the stamping of a mutation to its place in the store, as the worker that applied it sees it: how far"
            " the store is behind what was accepted.",
            _LAG_SECONDS,
        ).labels()
        self._oldest: Version | None = None
        families.gauge(
            "kvcore_lag_oldest_seconds",
            "How long ago the oldest mutation was stamped that this worker has in hand and the store does not have yet; 0: none."
            " It grows while the store is away, when kvcore_lag_seconds says nothing.",
        ).labels().set_function(self._oldest_s)
        self.redelivered = families.counter(
            "kvcore_redelivered_mutations_total",
            "Mutations that a worker took which may have been in other hands before: a worker has ended, or lost its connection.",
        ).labels()
        self.put_off = families.counter(
            "kvcore_refreshes_put_off_total",
            "Refreshes put on the queue since the cache could not be reached: until it can be, it may have what is older.",
        ).labels()
        self._retries = families.counter(
            "kvcore_worker_retries_total",
            "Pauses of a worker before it tries again what has failed: to consume a channel, to apply to the store, to tell the"
            " cache (refresh), or to tell it what was put off (late-refresh).",
            what=get_args(Retried),
        ).from_zero()
        channels = get_args(Channel)
        self._messages = families.gauge(
            "kvcore_queue_messages",
            "Messages in the queue, as this worker saw it last: waiting, or unsettled, which is in the hands of this worker, or"
            " of all where the server tells. A message may hold several mutations.",
            channel=channels,
            state=("waiting", "unsettled"),
        )
        self._consumers = families.gauge(
            "kvcore_queue_consumers",
            "Workers on a channel, as this worker saw it last. Without any nothing moves.",
            channel=channels,
        )
        self._dead_letters = families.gauge(
            "kvcore_queue_dead_letters",
            "Dead letters kept, as this worker saw it last: writes that the store rejected, to be looked at. NaN: not known.",
        ).labels()
        self._dead_letters.set(math.nan)

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

    def retries(self, what: Retried) -> Count:
        """Return what counts the tries of one thing."""
        return self._retries.labels(what)

    def saw(self, queue: QueueStats | None) -> None:
        """Show a queue in numbers; None: it cannot be asked."""
        self._messages.clear()
        self._consumers.clear()
        self._dead_letters.set(math.nan)
        if queue is None:
            return
        for state, numbers in (("waiting", queue.waiting), ("unsettled", queue.unsettled or {})):
            for channel, number in numbers.items():
                self._messages.labels(channel, state).set(number)
        for channel, number in queue.consumers.items():
            self._consumers.labels(channel).set(number)
        if queue.dead_letters is not None:
            self._dead_letters.set(queue.dead_letters)
