"""What `kvctl doctor` finds out about a database file."""

from __future__ import annotations

from pathlib import Path

from kvcore.backends import Diagnosis, Finding
from kvcore.errors import KvcoreError
from kvcore_store_sqlite.database import InUseError
from kvcore_store_sqlite.settings import SqliteSettings
from kvcore_store_sqlite.store import open_sqlite

__all__ = ("diagnose",)


async def diagnose(settings: SqliteSettings) -> Diagnosis:
    """Look at the database as a node would that is started now. Where there is none, none is made."""
    return Diagnosis(findings=[await _finding(settings)])


async def _finding(settings: SqliteSettings) -> Finding:
    about = f"database {settings.path}"
    if not Path(settings.path).exists():  # noqa: ASYNC240 - nothing else runs in this loop
        return Finding(level="ok", about=about, what="it is not there yet: a node that starts makes it")
    try:
        async with open_sqlite(settings) as store:
            return Finding(level="ok", about=about, what=await store.ping())
    except InUseError:
        in_use = "a process uses it, as a running node does: `kvctl doctor --url …` looks at that"
        return Finding(level="ok", about=about, what=in_use)
    except KvcoreError as error:
        return Finding(
            level="error",
            about=about,
            what="no node can use it",
            evidence=str(error),
            remedy="see store.sqlite.path (kvctl config show); `kvctl sqlite check` reads a whole database",
        )
