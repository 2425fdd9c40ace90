"""The cache is one in the sense of kvcore, however the server is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec
import pytest

from kvcore.backends import Cache, Factory
from kvcore.testing import CacheConformance
from kvcore.testing.servers import RedisServers, ServerProcess
from kvcore_cache_redis import RedisSettings, kvcore_caches


class TestOneServer(CacheConformance):
    """The suite of kvcore, on one server."""

    factory: ClassVar[Factory[Cache]] = next(iter(kvcore_caches()))

    @pytest.fixture
    def settings(self, server: ServerProcess, settings_of: Callable[..., RedisSettings]) -> msgspec.Struct:
        """Return the settings of the suite's own namespace."""
        return settings_of(server, namespace="conformance", database=1)


class TestSentinels(CacheConformance):
    """The suite of kvcore, on the master that the Sentinels name."""

    factory: ClassVar[Factory[Cache]] = next(iter(kvcore_caches()))

    @pytest.fixture
    def settings(self, redis_servers: RedisServers, sentinel_settings: Callable[..., RedisSettings]) -> msgspec.Struct:
        """Return the settings of the suite's own namespace."""
        return sentinel_settings(redis_servers, namespace="conformance", database=1)
