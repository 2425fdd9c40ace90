"""A store of kvcore in the memory of one process, for tests."""

from __future__ import annotations

from kvcore.backends import Factory, Store
from kvcore.hookspecs import hookimpl
from kvcore_store_memory.store import MemoryStore, MemoryStoreSettings, open_store

__all__ = ("FACTORY", "MemoryStore", "MemoryStoreSettings")

FACTORY: Factory[Store] = Factory(name="memory", backend=MemoryStore, settings=MemoryStoreSettings, open=open_store)


@hookimpl
def kvcore_stores() -> list[Factory[Store]]:
    """Give the store "memory"."""
    return [FACTORY]
