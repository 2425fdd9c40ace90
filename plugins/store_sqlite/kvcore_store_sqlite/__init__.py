"""The store of kvcore in one SQLite file: durable, nothing to install."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvcore.backends import Factory, Store
from kvcore.hookspecs import hookimpl
from kvcore_store_sqlite.diagnosis import diagnose
from kvcore_store_sqlite.settings import SqliteSettings
from kvcore_store_sqlite.store import SqliteStore, open_sqlite

if TYPE_CHECKING:
    import typer

__all__ = ("SqliteSettings", "SqliteStore", "kvcore_commands", "kvcore_stores", "open_sqlite")


@hookimpl
def kvcore_stores() -> Iterable[Factory[Store]]:
    """Give the store "sqlite"."""
    return [
        Factory(name="sqlite", backend=SqliteStore, settings=SqliteSettings, open=open_sqlite, diagnose=diagnose),
    ]


@hookimpl
def kvcore_commands() -> Iterable[typer.Typer]:
    """Give `kvctl sqlite check` and `kvctl sqlite backup`."""
    from kvcore_store_sqlite.commands import commands  # noqa: PLC0415 - a node has no use for Typer

    return [commands()]
