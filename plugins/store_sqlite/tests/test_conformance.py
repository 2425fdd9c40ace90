"""The store is one in the sense of kvcore."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from kvcore.backends import Factory, Store
from kvcore.testing import StoreConformance
from kvcore_store_sqlite import SqliteSettings, kvcore_stores


class TestSqliteStore(StoreConformance):
    """The suite of kvcore, on a database file."""

    factory: ClassVar[Factory[Store]] = next(iter(kvcore_stores()))

    @pytest.fixture
    def settings(self, tmp_path: Path) -> msgspec.Struct:
        """Return the settings of a database of this test's own."""
        return SqliteSettings(path=str(tmp_path / "kv.db"))
