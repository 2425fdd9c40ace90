"""The cache in memory keeps the contract."""

from __future__ import annotations

from typing import ClassVar

from kvcore.backends import Cache, Factory
from kvcore.testing import CacheConformance
from kvcore_cache_memory import FACTORY


class TestMemoryCache(CacheConformance):
    """The suite, on the cache in memory."""

    factory: ClassVar[Factory[Cache]] = FACTORY
