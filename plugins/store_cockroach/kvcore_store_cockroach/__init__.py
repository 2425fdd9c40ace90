"""The store of kvcore on CockroachDB, or on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

from kvcore.backends import Factory, Store
from kvcore.hookspecs import hookimpl
from kvcore_store_cockroach.diagnosis import diagnose
from kvcore_store_cockroach.migrating import migrate
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.store import CockroachStore, open_cockroach

__all__ = ("CockroachSettings", "CockroachStore", "diagnose", "kvcore_stores", "migrate", "open_cockroach")


@hookimpl
def kvcore_stores() -> Iterable[Factory[Store]]:
    """Give the store "cockroach"."""
    return [
        Factory(
            name="cockroach",
            backend=CockroachStore,
            settings=CockroachSettings,
            open=open_cockroach,
            diagnose=diagnose,
            migrate=migrate,
        )
    ]
