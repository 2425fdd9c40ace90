"""The cache of kvcore in the memory of its own process."""

from __future__ import annotations

from kvcore.backends import Cache, Factory
from kvcore.hookspecs import hookimpl
from kvcore_cache_memory.cache import MemoryCache, MemoryCacheSettings, open_cache

__all__ = ("FACTORY", "MemoryCache", "MemoryCacheSettings")

FACTORY: Factory[Cache] = Factory(name="memory", backend=MemoryCache, settings=MemoryCacheSettings, open=open_cache)


@hookimpl
def kvcore_caches() -> list[Factory[Cache]]:
    """Give the cache "memory"."""
    return [FACTORY]
