"""`/cache/stats`: how much is in the cache, and how often it had what was read."""

from __future__ import annotations

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.backends import CacheStats
from kvcore.http.answers import NO_STORE, json_answer
from kvcore.http.forms import NoQuery
from kvcore.http.openapi import DescribedAnswer, described
from kvcore.http.requests import AnyRequest, read_query
from kvcore.metrics import Metrics
from kvcore.service import KeyValueService

__all__ = ("stats_handlers",)


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """How often the cache had what was read; `hit_rate` in percent, 0 where nothing was read."""

    cache_hits: int
    cache_misses: int
    hit_rate: float


class Stats(Reads, frozen=True, kw_only=True):
    """The cache as its backend counts, since the start of its server and for all that use it; null: no limit, or not known.

    `node`: what this node has asked it, since its own start.
    """

    keys_count: int
    max_keys_limit: int | None
    memory_used_bytes: int
    max_memory_bytes: int | None
    evictions: int
    node: Reads


def stats_handlers(service: KeyValueService, metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the handler of `/cache/stats` over a service and what its node has counted."""

    @get(
        "/cache/stats",
        operation_class=described(
            query=NoQuery,
            answers={200: DescribedAnswer("The cache in numbers.", msgspec.to_builtins(_EXAMPLE), Stats)},
            problems=("unavailable",),
        ),
        operation_id="getCacheStats",
        summary="The cache in numbers",
        tags=["operations"],
    )
    async def cache_stats(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        return json_answer(_stats(await service.cache_stats(), _reads_of_node(metrics)), NO_STORE)

    return [cache_stats]


def _stats(seen: CacheStats, node: Reads) -> Stats:
    return Stats(
        keys_count=seen.keys_count,
        max_keys_limit=seen.max_keys,
        memory_used_bytes=seen.memory_used_bytes,
        max_memory_bytes=seen.max_memory_bytes,
        cache_hits=seen.hits,
        cache_misses=seen.misses,
        hit_rate=_hit_rate(seen.hits, seen.misses),
        evictions=seen.evictions,
        node=node,
    )


def _reads_of_node(metrics: Metrics) -> Reads:
    results = metrics.reads.results
    hits = int(results["hit"].value + results["negative"].value)
    misses = int(results["miss"].value + results["stale"].value)
    return Reads(cache_hits=hits, cache_misses=misses, hit_rate=_hit_rate(hits, misses))


def _hit_rate(hits: int, misses: int) -> float:
    return round(100 * hits / (hits + misses), 2) if hits else 0.0


_EXAMPLE = _stats(
    CacheStats(
        keys_count=10_000, memory_used_bytes=4_194_304, max_memory_bytes=67_108_864, hits=9, misses=1, evictions=0
    ),
    Reads(cache_hits=3, cache_misses=1, hit_rate=75.0),
)
