"""The figures that `kvctl top` shows of a node or worker: what its metrics say about the time between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from kvcore.cli._running.observing import Observation
from kvcore.cli._running.samples import Samples
from kvcore.errors import KvcoreError, UnavailableError

__all__ = ("Figures", "figures_of")

Status = Literal["healthy", "degraded", "unhealthy", "unreachable", "refused"]

_REQUESTS: Final = "kvcore_http_request_duration_seconds"
_LOOKING: Final = ("getHealth", "getLiveness", "getMetrics", "getReadiness")
"""Operations by which a node is watched, and which nobody uses it for."""
_FOUND: Final = ("hit", "negative")
_LOOKED_UP: Final = (*_FOUND, "miss", "stale")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A node or worker in figures, of which None are not known: not shown, or nothing happened that they could tell of.

    Rates, latencies, ratios and the lag are of the time between two looks, everything else is as of the second. `status`
    "refused": it does not let kvctl see its health; `detail` says why. `requests_per_s` leaves out health and metrics.
    `writes_per_s`: taken by a node, or given to the store by a worker. `hit_ratio` is 0 to 1, `cpu` in cores.
    """

    url: str
    kind: Literal["node", "worker"] | None = None
    status: Status
    detail: str = ""
    version: str | None = None
    requests_per_s: float | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    hit_ratio: float | None = None
    writes_per_s: float | None = None
    lag_p99_s: float | None = None
    lag_oldest_s: float | None = None
    queue_depth: int | None = None
    dead_letters: int | None = None
    breakers_open: list[str] = []
    connections: int | None = None
    memory_bytes: int | None = None
    cpu: float | None = None


def figures_of(url: str, before: Observation | None, now: Observation) -> Figures:
    """Return the figures of a node; those that need two looks only where there was one before."""
    figures: dict[str, Any] = {"url": url, **_state(now)}
    if isinstance(now.metrics, Samples):
        figures |= _gauges(now.metrics)
        if before is not None and isinstance(before.metrics, Samples) and now.at_s > before.at_s:
            figures |= _rates(before.metrics, now.metrics, now.at_s - before.at_s)
    return Figures(**figures)


def _state(now: Observation) -> dict[str, Any]:
    if isinstance(now.health, KvcoreError):
        status = "unreachable" if isinstance(now.health, UnavailableError) else "refused"
        return {"status": status, "detail": str(now.health)}
    down = [f"{tier} {one.detail}" for tier, one in now.health.components.items() if one.status != "up"]
    if isinstance(now.metrics, KvcoreError):
        down.append(f"no metrics: {now.metrics}")
    return {
        "status": now.health.status,
        "detail": "; ".join(down),
        "version": now.health.version,
        "kind": "worker" if now.health.limits is None else "node",  # a worker takes no values, so it has no limits
    }


def _gauges(now: Samples) -> dict[str, Any]:
    return {
        "lag_oldest_s": now.largest("kvcore_lag_oldest_seconds"),
        "queue_depth": _depth(now),
        "dead_letters": _whole(now.largest("kvcore_queue_dead_letters")),
        "breakers_open": sorted({labels.get("tier", "") for labels, value in now.each("kvcore_breaker_open") if value}),
        "connections": _whole(now.total("kvcore_http_connections")),
        "memory_bytes": _whole(now.total("process_resident_memory_bytes")),
    }


def _depth(now: Samples) -> int | None:
    """Return how many messages are in the queue: what waits, which all workers see, and what each of them has in hand."""
    waiting: dict[str, float] = {}
    in_hand = 0.0
    for labels, value in now.each("kvcore_queue_messages"):
        if labels.get("state") == "waiting":
            channel = labels.get("channel", "")
            waiting[channel] = max(value, waiting.get(channel, 0.0))
        else:
            in_hand += value
    return int(sum(waiting.values()) + in_hand) if waiting else None


def _rates(before: Samples, now: Samples, seconds: float) -> dict[str, Any]:
    def rate(name: str, where: Any = lambda labels: True) -> float | None:
        grown = now.growth(name, before, where)
        return None if grown is None else grown / seconds

    def reads(results: tuple[str, ...]) -> float:
        return now.growth("kvcore_cache_reads_total", before, lambda labels: labels.get("result") in results) or 0.0

    looked_up = reads(_LOOKED_UP)
    taken = rate("kvcore_writes_total")
    return {
        "requests_per_s": rate(f"{_REQUESTS}_count", _is_use),
        "p50_s": now.quantile(_REQUESTS, 0.5, before, _is_use),
        "p99_s": now.quantile(_REQUESTS, 0.99, before, _is_use),
        "hit_ratio": reads(_FOUND) / looked_up if looked_up else None,
        "writes_per_s": rate("kvcore_mutations_total") if taken is None else taken,
        "lag_p99_s": now.quantile("kvcore_lag_seconds", 0.99, before),
        "cpu": rate("process_cpu_seconds_total"),
    }


def _is_use(labels: Mapping[str, str]) -> bool:
    return labels.get("operation") not in _LOOKING


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
