"""What is there when all is at rest: every key as the store has it, and as the cache has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from kvcore.model import ZERO
from kvcore.testing.waiting import eventually
from tests.faults.connection import Answer, Connection
from tests.faults.history import Fate, Found, History

__all__ = ("read_back",)

_CONNECTIONS: Final = 8
_PATIENCE_S: Final = 15.0  # longer than a lease that nobody uses any more


async def read_back(urls: Sequence[str], history: History) -> None:
    """Add to a history what store and cache have for each of its keys.

    Whatever was accepted gets the time to arrive: the store is asked for the highest version that was acknowledged, and a
    cache that differs from the store, or does not have the key, is asked again, for 15 s.

    Raises:
        AssertionError: the cache still does not have a key, though asking for it fills it.
    """
    floors: dict[str, str] = {operation.key: ZERO for operation in history.operations}
    for write in history.writes:
        if write.fate is Fate.ACKNOWLEDGED:
            floors[write.key] = max(floors[write.key], write.version)
    keys = iter(sorted(floors))

    async def read_some() -> None:
        connection = Connection(list(urls))
        try:
            for key in keys:
                await _read_key(connection, key, floors[key], history)
        finally:
            connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(read_some())


async def _read_key(connection: Connection, key: str, floor: str, history: History) -> None:
    target = f"/kv?key={quote(key, safe='')}"

    async def agree() -> bool:
        history.stored.pop(key, None)
        history.cached.pop(key, None)
        cached = await connection.request("GET", target)
        stored = await connection.request(
            "GET", f"{target}&min_version={floor}&wait=10000", {"Cache-Control": "no-cache"}
        )
        if _is_hit(cached):
            history.cached[key] = _found(cached)
        if stored.status in (200, 404):
            history.stored[key] = _found(stored)
        return stored.status == 503 or history.cached.get(key) == history.stored[key]

    try:
        await eventually(agree, within_s=_PATIENCE_S)
    except AssertionError:
        if key not in history.cached:
            raise  # else nothing would have been compared
        # What was read last is in the history, and breaks a rule.


def _is_hit(answer: Answer) -> bool:
    return answer.headers.get("cache-status") == "kvcore; hit"


def _found(answer: Answer) -> Found:
    if answer.status == 404:
        return Found()
    if answer.status != 200:
        raise RuntimeError(f"a read at rest was answered {answer.status}: {answer.body!r}")
    return Found(answer.document["data"]["value"], answer.version)
