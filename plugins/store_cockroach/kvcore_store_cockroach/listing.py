"""Keys in order, a stretch at a time.

Each statement looks at a number of keys, there or not, and ends: one that looked on until it has found enough would walk through
all that was deleted. It looks at as many keys as are still missing, and at some to spare, which grow in number while only deleted
keys are found; more statements follow for as long as a call may take that others wait behind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8

from kvcore.backends import Listed, Scanned
from kvcore_store_cockroach.executing import Executor
from kvcore_store_cockroach.keyrange import successor

__all__ = ("scan",)

_MOST_SPARE: Final = 2_000
_CALL_S: Final = 0.3


async def scan(executor: Executor, prefix: str, after: str | None, limit: int, now_ms: int) -> Scanned:
    """Return up to `limit` keys that exist at a time: see `kvcore.backends.Listing`."""
    ends_s = time.monotonic() + _CALL_S
    listed: list[Listed] = []
    spare = 1  # which tells whether there is more
    while True:
        most = limit - len(listed) + spare
        rows = await _stretch(executor, prefix, after, most)
        for row in rows:
            if len(listed) == limit:
                return Scanned(listed, after)
            after, _, size_bytes, _, expires_at_ms = row
            if size_bytes is not None and (expires_at_ms is None or expires_at_ms > now_ms):
                listed.append(Listed(*row))
        if len(rows) < most:
            return Scanned(listed, None)
        if time.monotonic() > ends_s:
            return Scanned(listed, after)
        spare = min(spare * 10, _MOST_SPARE)


async def _stretch(executor: Executor, prefix: str, after: str | None, most: int) -> Sequence[TupleRow]:
    """Return the next keys, there or not, and what they hold but for the value."""
    parameters: dict[str, Any] = {"prefix": prefix, "after": after or "", "most": Int8(most)}
    stop = successor(prefix)
    if stop is None:
        return await executor.read("scan_rest", parameters)
    return await executor.read("scan", parameters | {"stop": stop})
