"""The cache of kvcore in Redis, through Sentinel or at one address."""

from __future__ import annotations

from collections.abc import Iterable

from kvcore.backends import Cache, Factory
from kvcore.hookspecs import hookimpl
from kvcore_cache_redis.cache import RedisCache, open_redis
from kvcore_cache_redis.diagnosis import diagnose
from kvcore_cache_redis.settings import RedisSettings

__all__ = ("RedisCache", "RedisSettings", "diagnose", "kvcore_caches", "open_redis")


@hookimpl
def kvcore_caches() -> Iterable[Factory[Cache]]:
    """Give the cache "redis"."""
    return [Factory(name="redis", backend=RedisCache, settings=RedisSettings, open=open_redis, diagnose=diagnose)]
