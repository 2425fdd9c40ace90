"""What the tests of this plugin share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvcore_store_sqlite.database import Database
from kvcore_store_sqlite.store import SqliteStore


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run asynchronous tests on asyncio with uvloop, as the node does."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database of this test lies."""
    return tmp_path / "kv.db"


@pytest.fixture
def database(path: Path) -> Database:
    """Return an open database; the store closes it."""
    return Database(path)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqliteStore]:
    """Yield a store on it, whose clock stands at 1,000,000 ms."""
    store = SqliteStore(database, now_ms=lambda: 1_000_000)
    yield store
    await store.aclose()
