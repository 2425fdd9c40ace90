"""A store that refuses writes while a file says why, so that they become dead letters.

In a module of its own, which the node under test loads as a plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from kvcore.backends import Factory, Store
from kvcore.hookspecs import hookimpl
from kvcore.model import Mutation, Outcome, Verdict
from kvcore.secret import Secret
from kvcore_store_memory import MemoryStore

__all__ = ("PickySettings", "PickyStore", "kvcore_stores")


class PickySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file that holds the reason while it is there, and a secret that nobody needs."""

    reason: str
    password: Secret | None = None


class PickyStore(MemoryStore):
    """A store in memory that refuses every write while there is a reason."""

    def __init__(self, reason: Path) -> None:
        super().__init__()
        self._reason = reason

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        if self._reason.exists():
            reason = self._reason.read_text(encoding="utf-8")
            return [Outcome(Verdict.REJECTED, reason=reason) for _ in mutations]
        return await super().apply(mutations)


@asynccontextmanager
async def open_picky(settings: PickySettings) -> AsyncIterator[PickyStore]:
    """Yield an empty store, which is forgotten on leaving."""
    yield PickyStore(Path(settings.reason))


@hookimpl
def kvcore_stores() -> list[Factory[Store]]:
    """Give the store "picky"."""
    return [Factory(name="picky", backend=PickyStore, settings=PickySettings, open=open_picky)]
