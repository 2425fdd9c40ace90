"""Looking through all keys, and then all requests, for what need not be remembered, a stretch at a time.

No index leads there: it would cost every write. So each call looks on from where the one before has stopped, for as long as
a call may take that others wait behind.
"""

from __future__ import annotations

import time
from typing import Any, Final

from psycopg.types.numeric import Int8

from kvcore.backends import Purged
from kvcore.model import Version
from kvcore_store_cockroach.executing import Executor

__all__ = ("Purge",)

_STRETCH_ROWS: Final = 2_000
_CALL_S: Final = 0.3


class Purge:
    """Where the looking has come to."""

    def __init__(self, executor: Executor) -> None:
        self._walks = (
            _Walk(executor, "", "stretch", "last_key", "purge"),
            _Walk(executor, b"", "stretch_answered", "last_answered", "purge_answered"),
        )
        self._at = 0

    async def purge(self, before: Version, limit: int) -> Purged:
        """Remove up to `limit` rows, from the next ones in order, until the last one, or the end of the time, has come."""
        instant = before[:12]
        bound = {"before": instant, "before_ms": Int8(int(instant, 16))}
        ends_s = time.monotonic() + _CALL_S
        removed = 0
        while removed < limit:
            rows, is_last = await self._walks[self._at].stretch(bound, limit - removed)
            removed += rows
            if is_last:
                self._at = (self._at + 1) % len(self._walks)
                if self._at == 0:
                    return Purged(removed, more=False)
            if time.monotonic() > ends_s:
                break
        return Purged(removed, more=True)


class _Walk:
    """A walk through a table in the order of its primary key, by the names of the statements for it."""

    def __init__(self, executor: Executor, start: str | bytes, stretch: str, last: str, purge: str) -> None:
        self._executor = executor
        self._start = self._after = start
        self._stretch, self._last, self._purge = stretch, last, purge

    async def stretch(self, bound: dict[str, Any], limit: int) -> tuple[int, bool]:
        """Remove up to `limit` rows from the next stretch; return how many, and whether the last row has been passed."""
        ends = await self._executor.read(self._stretch, {"after": self._after, "keys": Int8(_STRETCH_ROWS - 1)})
        is_last = not ends
        if is_last:
            ends = await self._executor.read(self._last)
        if not ends:
            self._after = self._start
            return 0, True
        ((until,),) = ends
        parameters = {"after": self._after, "until": until, "limit": Int8(limit)}
        removed = [key for (key,) in await self._executor.read(self._purge, parameters | bound)]
        if len(removed) == limit:
            self._after = max(removed)
            return limit, False
        self._after = self._start if is_last else until
        return len(removed), is_last
