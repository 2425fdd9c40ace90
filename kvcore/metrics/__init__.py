"""What a node counts about itself, in Prometheus' terms. Each node has a registry of its own: nothing is global."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kvcore import __version__
from kvcore.metrics.families import Count, Described, Families, Family, Values
from kvcore.metrics.http import HttpMetrics, Limit
from kvcore.metrics.service import ReadMetrics, ReadResult, WriteMetrics
from kvcore.metrics.tiers import TierMetrics
from kvcore.metrics.worker import Retried, WorkerMetrics

__all__ = (
    "Count",
    "Described",
    "Family",
    "Limit",
    "Metrics",
    "ReadResult",
    "Retried",
    "Values",
    "WriteMetrics",
)


class Metrics:
    """The metrics of one process that is a node or a worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._families = families = Families(self.registry)
        families.gauge(
            "kvcore_build_info",
            "Always 1. Its labels tell what runs where, while versions are exchanged.",
            version="the version of kvcore",
            python="the version of Python",
        ).labels(__version__, platform.python_version()).set(1)
        self.ready = families.gauge(
            "kvcore_ready", "1 while this process wants requests; 0 while it starts and while it drains."
        ).labels()
        self.clock_ahead = families.gauge(
            "kvcore_clock_ahead_seconds",
            "How far the newest version that this node has stamped or seen is ahead of its clock; one that it had to refuse"
            " counts for a minute. More than a moment: some node's clock is wrong, and beyond clock.max_ahead_s writes are"
            " refused. 0 in a worker of its own, which stamps nothing.",
        ).labels()
        self.auth_file_errors = families.counter(
            "kvcore_auth_file_errors_total",
            "Changes of a file of tokens or keys (auth.file, auth.jwt.keys) after which it could not be read or understood; what it"
            " said before stays in force.",
        ).labels()
        self.purged = families.counter(
            "kvcore_purged_total",
            "What this process has removed from the store for good: old tombstones, expired entries, and the answers to old"
            " requests.",
        ).labels()
        self.http = HttpMetrics(families)
        self.reads = ReadMetrics(families)
        self.writes = WriteMetrics(families)
        self.tiers = TierMetrics(families)
        self.worker = WorkerMetrics(families)

    def described(self) -> list[Described]:
        """Return all metrics that are kvcore's own, by name."""
        return self._families.described()
