"""The store in memory keeps the contract."""

from __future__ import annotations

from typing import ClassVar

from kvcore.backends import Factory, Store
from kvcore.testing import StoreConformance
from kvcore_store_memory import FACTORY


class TestMemoryStore(StoreConformance):
    """The suite, on the store in memory."""

    factory: ClassVar[Factory[Store]] = FACTORY
