"""What the parts of the suite for stores share: the open store, and bringing about what it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import msgspec
import pytest

from kvcore.backends import Factory, Store
from kvcore.model import Entry, Mutation, Verdict, Version
from kvcore.testing.backend import BackendConformance

__all__ = ("StoreOpening", "purge_all")


class StoreOpening(BackendConformance):
    """Opens the store for each test."""

    factory: ClassVar[Factory[Store]]

    @pytest.fixture
    async def store(self, settings: msgspec.Struct) -> AsyncIterator[Store]:
        """Yield the open store, which has met its server: only then are its limits those of the server."""
        async with self.factory.open(settings) as store:
            await store.ping()
            yield store

    async def keep(self, store: Store, entries: Mapping[str, Entry]) -> None:
        """Have the store hold entries."""
        outcomes = await store.apply([Mutation(key, entry) for key, entry in entries.items()])
        refused = [outcome for outcome in outcomes if outcome.verdict is not Verdict.APPLIED]
        assert not refused, f"not applied: {refused}"


async def purge_all(store: Store, before: Version) -> None:
    """Remove all that ended before a version, such as earlier tests have left."""
    while (await store.purge(before, 1000)).more:
        pass
