"""Listing: one small statement where nothing was deleted, and a bounded number of them where much was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvcore.model import Entry, Mutation, Version
from kvcore_store_cockroach import CockroachSettings, CockroachStore, listing, open_cockroach
from kvcore_store_cockroach.connecting import connect
from kvcore_store_cockroach.sql import statement

OLD, NEW = Version("1" * 24), Version("2" * 24)


@pytest.fixture
async def store(own: CockroachSettings) -> AsyncIterator[CockroachStore]:
    """Yield a store with 1,000 keys, all deleted but every hundredth."""
    async with open_cockroach(own) as store:
        await store.apply([Mutation(f"{number:04}", Entry(OLD, b"value")) for number in range(1000)])
        await store.apply([Mutation(f"{number:04}", Entry(NEW)) for number in range(1000) if number % 100])
        yield store


@pytest.fixture
def asked(store: CockroachStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which is added how many keys each statement looks at."""
    read, numbers = store._executor.read, []

    async def noted(name: str, parameters: dict[str, Any]) -> Any:
        numbers.append(parameters["most"])
        return await read(name, parameters)

    monkeypatch.setattr(store._executor, "read", noted)
    return numbers


async def test_keys_that_are_there_take_one_statement(store: CockroachStore, asked: list[int]) -> None:
    """A page of keys none of which was deleted costs one statement, for one row more than it has."""
    await store.apply([Mutation(f"live/{number}", Entry(OLD, b"")) for number in range(10)])
    assert len((await store.scan("live/", None, 9)).listed) == 9
    assert asked == [10]


async def test_looks_at_more_keys_the_more_were_deleted(store: CockroachStore, asked: list[int]) -> None:
    """Where keys were deleted a call goes on in growing steps, until it has what was asked for."""
    found = await store.scan("0", "0000", 3)
    assert [line.key for line in found.listed] == ["0100", "0200", "0300"]
    assert asked == [4, 13, 103, 1002]


async def test_a_call_ends_when_its_time_is_up(
    store: CockroachStore, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is up a call says where to go on, though it has found nothing yet, and the listing gets to its end."""
    monkeypatch.setattr(listing, "_CALL_S", -1.0)
    found = await store.scan("", "0001", 2)
    assert (found.listed, found.after, asked) == ([], "0004", [3])
    keys, calls, after = [], 0, found.after
    while after is not None:
        found = await store.scan("", after, 40)
        calls, after = calls + 1, found.after
        keys += [line.key for line in found.listed]
    assert keys == [f"{number:04}" for number in range(100, 1000, 100)]
    assert calls == -(-995 // 41)


@pytest.mark.parametrize("name", ["scan", "scan_rest"])
async def test_the_statements_walk_along_the_primary_key(
    own: CockroachSettings, store: CockroachStore, name: str
) -> None:
    """Neither server sorts, or looks through keys that are not asked for."""
    async with await connect(own, own.hosts[0]) as connection:
        await connection.execute("ANALYZE kv")
        form = "(FORMAT JSON) " if connection.server.kind == "PostgreSQL" else ""
        parameters = {"prefix": "0", "after": "0500", "stop": "1", "most": 10}
        cursor = await connection.execute(f"EXPLAIN {form}{statement(name)}".encode(), parameters)
        plan = json.dumps(await cursor.fetchall())
    if form:
        assert "Index Scan" in plan
        assert "kv_pkey" in plan
    assert not [word for word in ("Seq Scan", "Sort", "FULL SCAN", "sort") if word in plan]
