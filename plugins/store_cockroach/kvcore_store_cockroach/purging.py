"""Looking through all keys for what need not be remembered, a stretch at a time.

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

_STRETCH_KEYS: Final = 2_000
_CALL_S: Final = 0.3


class Purge:
    """Where the looking has come to."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._after = ""

    async def purge(self, before: Version, limit: int) -> Purged:
        """Remove up to `limit` rows, from the next keys in order, until the last key, or the end of the time, has come."""
        instant = before[:12]
        bound = {"before": instant, "before_ms": Int8(int(instant, 16))}
        ends_s = time.monotonic() + _CALL_S
        removed, is_last = 0, False
        while removed < limit and not is_last:
            rows, is_last = await self._stretch(bound, limit - removed)
            removed += rows
            if time.monotonic() > ends_s:
                break
        return Purged(removed, more=not is_last)

    async def _stretch(self, bound: dict[str, Any], limit: int) -> tuple[int, bool]:
        """Remove up to `limit` rows from the next stretch; return how many, and whether the last key has been passed."""
        ends = await self._executor.read("stretch", {"after": self._after, "keys": Int8(_STRETCH_KEYS - 1)})
        is_last = not ends
        if is_last:
            ends = await self._executor.read("last_key")
        ((until,),) = ends
        if until is None:
            return 0, True
        parameters = {"after": self._after, "until": until, "limit": Int8(limit)}
        removed = [key for (key,) in await self._executor.read("purge", parameters | bound)]
        if len(removed) == limit:
            self._after = max(removed)
            return limit, False
        self._after = "" if is_last else until
        return len(removed), is_last
