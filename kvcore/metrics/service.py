"""What is counted of reads and writes."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Literal, get_args

from kvcore.metrics.families import Families
from kvcore.model import Outcome, Verdict

__all__ = ("ReadMetrics", "ReadResult", "WriteMetrics", "WriteWay")

ReadResult = Literal["hit", "negative", "miss", "stale", "bypass", "error"]
"""What the cache had to do with a read."""

WriteWay = Literal["queue", "store"]
"""Through the queue, or straight to the store."""


class ReadMetrics:
    """Of reads, and what the cache did for them."""

    def __init__(self, families: Families) -> None:
        results = families.counter(
            "kvcore_cache_reads_total",
            "Reads by what the cache had: the key (hit), that there is no such key (negative), nothing (miss), or less than"
            " the request's min_version (stale). bypass: it was not asked, as the request wanted or since its circuit breaker"
            " was open; error: it was asked and failed. Hits and negative ones are answered without the store.",
            result=get_args(ReadResult),
        )
        self.results = {result: results.labels(result) for result in get_args(ReadResult)}
        self.leases_refused = families.counter(
            "kvcore_cache_leases_refused_total",
            "Reads that missed and were not given the lease to fill the key, since another reader or writer has it: they wait"
            " for that one instead of asking the store. Many: keys that are read by many at once expire, or are written often.",
        ).labels()


class WriteMetrics:
    """Of writes, and what the store made of them."""

    def __init__(self, families: Families) -> None:
        ways = families.counter(
            "kvcore_writes_total",
            "Writes that the queue has accepted or a worker has answered (queue), and that this process has taken straight to"
            " the store. One that is stamped anew counts again.",
            way=get_args(WriteWay),
        )
        self.ways = {way: ways.labels(way) for way in get_args(WriteWay)}
        self.past_queue = families.counter(
            "kvcore_writes_past_queue_total",
            "Writes taken straight to the store since the queue could not take them: they work, at the pace of the store.",
        ).labels()
        self.unsettled = families.gauge(
            "kvcore_writes_unsettled",
            "Writes straight to the store of which it is not known yet whether the store has applied them: they are applied"
            " again until it is. From 256 on further ones are refused.",
        ).labels()
        self.retries = families.counter(
            "kvcore_write_retries_total",
            "Times that a write was stamped anew and sent again, since the store had a newer version of another node, or not yet"
            " the one expected: clocks that differ, or a lag.",
        ).labels()
        self._mutations = families.counter(
            "kvcore_mutations_total",
            "Mutations that this process gave to the store, by what became of them: applied, superseded by a newer version,"
            " conflict (the condition did not hold), rejected (to the dead letters, where they came from the queue), unknown.",
            verdict=tuple(Verdict),
        ).from_zero()

    def count(self, outcomes: Iterable[Outcome]) -> None:
        """Count what became of mutations."""
        for verdict, number in collections.Counter(outcome.verdict for outcome in outcomes).items():
            self._mutations.labels(verdict.value).inc(number)
