"""Purging: a walk through all keys and all requests, in portions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from kvcore.model import ZERO, Entry, Mutation, Verdict, Version
from kvcore_store_cockroach import CockroachSettings, CockroachStore, open_cockroach, purging

BEFORE = Version(f"{100:012x}" + "0" * 12)
OLD, YOUNG = Version(f"{99:012x}" + "f" * 12), Version(f"{100:012x}" + "f" * 12)
DEAD = [Entry(OLD), Entry(OLD, b"expired", expires_at_ms=99)]
ALIVE = [Entry(OLD, b"value"), Entry(YOUNG), Entry(OLD, b"expired later", expires_at_ms=100), Entry(OLD, b"")]


@pytest.fixture
async def store(own: CockroachSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CockroachStore]:
    """Yield a store that looks at three keys at a time, on a database in which two of six rows may be purged."""
    monkeypatch.setattr(purging, "_STRETCH_ROWS", 3)
    async with open_cockroach(own) as store:
        rows = enumerate([*DEAD, *ALIVE] * 5)
        await store.apply([Mutation(f"key {number:02}", entry) for number, entry in rows])
        yield store


async def left(store: CockroachStore) -> list[Entry]:
    """Return the entries that are still there."""
    return [entry for entry in await store.get([f"key {number:02}" for number in range(30)]) if entry is not None]


async def test_a_walk_finds_all_in_stretches(store: CockroachStore) -> None:
    """One call goes through all stretches, and removes just what ended before the bound."""
    assert (await store.purge(BEFORE, 100)).removed == 10
    assert await left(store) == ALIVE * 5
    assert (await store.purge(BEFORE, 100)).removed == 0


async def test_a_call_goes_on_where_the_one_before_has_stopped(
    store: CockroachStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is up a call ends, and the next ones find the rest; after the last row the walk begins anew."""
    monkeypatch.setattr(purging, "_CALL_S", -1.0)
    calls = [await store.purge(BEFORE, 100) for _ in range(12)]
    # One for each stretch of keys, one that finds no more of them, and one for the requests.
    assert [call.removed for call in calls] == [*[2, 0] * 5, 0, 0]
    assert [call.more for call in calls] == [True] * 11 + [False]
    assert await left(store) == ALIVE * 5
    await store.apply([Mutation("key 00", DEAD[0])])
    assert (await store.purge(BEFORE, 100)).removed == 1


async def test_a_full_call_leaves_nothing_out(store: CockroachStore) -> None:
    """Calls that stop at their limit, in the middle of a stretch, leave the rest of it to the next one."""
    assert [(await store.purge(BEFORE, 3)).removed for _ in range(5)] == [3, 3, 3, 1, 0]
    assert await left(store) == ALIVE * 5


async def test_answers_are_found_in_stretches(store: CockroachStore) -> None:
    """After the keys come the requests, with ids in any order, and just those go that were answered before the bound."""

    def request(number: int, stamp: Version) -> Mutation:
        return Mutation(f"new {number}", Entry(stamp, b""), ZERO, sha256(b"%d" % number).digest())

    await store.purge(BEFORE, 100)
    await store.apply([request(number, (OLD, YOUNG)[number % 2]) for number in range(20)])
    calls = [await store.purge(BEFORE, 4) for _ in range(4)]
    assert [call.removed for call in calls] == [4, 4, 2, 0]
    later = Version("f" * 24)
    outcomes = await store.apply([request(number, later) for number in range(20)])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.CONFLICT, Verdict.APPLIED] * 10


async def test_an_empty_table_has_nothing_to_purge(own: CockroachSettings) -> None:
    """A purge of nothing is none."""
    async with open_cockroach(own) as store:
        assert (await store.purge(BEFORE, 10)).removed == 0
