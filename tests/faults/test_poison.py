"""A mutation that the store refuses stops nothing, and is not lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import quote

import psycopg
import pytest

from kvcore.backends import dead_letters_of
from kvcore.clock import HybridClock
from kvcore.model import Entry, Mutation
from kvcore.testing.waiting import eventually
from tests.faults.connection import Connection
from tests.faults.stage import Stage

pytestmark = pytest.mark.timeout(180)

_POISON = "poison/25"


async def test_a_mutation_that_the_store_refuses_is_buried_alone_and_can_be_replayed(stage: Stage) -> None:
    """It lands in the dead letters with a reason, its batch is applied, and a replay works once the cause is gone."""
    clock = HybridClock(max_ahead_ms=1000)
    batch = [Mutation(f"poison/{number}", Entry(clock.stamp(), b'"%d"' % number)) for number in range(50)]
    others = {mutation.key: mutation.version for mutation in batch if mutation.key != _POISON}
    (poison,) = (mutation for mutation in batch if mutation.key == _POISON)
    async with stage.queue() as queue, _store(stage) as store:
        letters = dead_letters_of(queue)
        await store.execute(f"ALTER TABLE kv ADD CONSTRAINT no_poison CHECK (key <> '{_POISON}')")
        try:
            await queue.publish("writes", batch)
            (letter,) = await eventually(lambda: letters.dead_letters(10), what="that a dead letter is there")
        finally:
            await store.execute("ALTER TABLE kv DROP CONSTRAINT no_poison")

        assert letter.mutation == poison
        assert "no_poison" in letter.reason
        assert await _versions(stage, others) == others
        assert await _versions(stage, [_POISON]) == {_POISON: ""}
        assert await letters.replay([letter.id]) == 1
        await eventually(lambda: _is_stored(stage, poison), what="that what was replayed is stored")
        assert await letters.dead_letters(10) == []


async def _is_stored(stage: Stage, mutation: Mutation) -> bool:
    return await _versions(stage, [mutation.key]) == {mutation.key: mutation.version}


async def _versions(stage: Stage, keys: Iterable[str]) -> dict[str, str]:
    """Return the version that the store has of each key; "" where it has none."""
    connection = Connection(stage.urls)
    try:
        return {
            key: (
                await connection.request("GET", f"/kv?key={quote(key, safe='')}", {"Cache-Control": "no-cache"})
            ).version
            for key in keys
        }
    finally:
        connection.close()


@asynccontextmanager
async def _store(stage: Stage) -> AsyncIterator[psycopg.AsyncConnection]:
    """Connect to the database past kvcore."""
    database = stage.database
    async with await psycopg.AsyncConnection.connect(
        host=database.nodes[0].host,
        port=database.nodes[0].port,
        user=database.user,
        password=database.password,
        dbname=stage.database_name,
        autocommit=True,
    ) as connection:
        yield connection
