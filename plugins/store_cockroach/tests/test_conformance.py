"""The store is one in the sense of kvcore."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from kvcore.backends import Factory, Store
from kvcore.testing import StoreConformance
from kvcore_store_cockroach import CockroachSettings, kvcore_stores


class TestCockroachStore(StoreConformance):
    """The suite of kvcore, on a real database."""

    factory: ClassVar[Factory[Store]] = next(iter(kvcore_stores()))

    @pytest.fixture
    def settings(self, migrated: CockroachSettings) -> msgspec.Struct:
        """Return the settings of a database that has the schema."""
        return migrated
