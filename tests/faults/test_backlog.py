"""A store that is down while writes are accepted: the queue keeps them, and they are all there afterwards."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from kvcore.testing.waiting import eventually
from tests.faults.history import Fate, History, check
from tests.faults.load import Client
from tests.faults.rest import read_back
from tests.faults.stage import LONG, Stage

pytestmark = pytest.mark.timeout(600)

WRITES, AWAY_S = (50_000, 60.0) if LONG else (5_000, 5.0)
_CLIENTS = 64
_APPLIED_WITHIN_S = 120.0


async def test_what_was_accepted_while_the_store_was_down_is_applied_when_it_is_back(
    stage: Stage, seed: int, remarks: list[str]
) -> None:
    """Every write is accepted without a store; afterwards each key has its newest one, and the next write is not kept waiting."""
    history, random = History(), Random(seed)
    handled = stage.handled()
    for node in stage.database.nodes:
        await asyncio.to_thread(node.kill)
    down_s = time.monotonic()

    await _write(stage, history, random)
    accepted_s = time.monotonic()
    await asyncio.sleep(AWAY_S - (accepted_s - down_s))  # there is no condition: it is to be away for that long
    await asyncio.to_thread(stage.database.restore)
    back_s = time.monotonic()
    await eventually(
        lambda: _have_handled(stage, handled + WRITES), within_s=_APPLIED_WITHIN_S, what="that all is applied"
    )

    remarks.append(
        f"{WRITES:,} writes accepted in {accepted_s - down_s:.1f} s without a store, which was away for"
        f" {back_s - down_s:.1f} s; applied {time.monotonic() - back_s:.1f} s after it was back"
    )
    await _write_and_read(stage, history, random)
    await read_back(stage.urls, history)
    assert {write.fate for write in history.writes} == {Fate.ACKNOWLEDGED}
    assert len(history.writes) == WRITES + 1
    assert check(history) == []


async def _write(stage: Stage, history: History, random: Random) -> None:
    """Send all writes, half of them to keys of their own and half to a few keys over and over."""
    keys = iter([f"backlog/{number if number % 2 else random.randrange(100)}" for number in range(WRITES)])

    async def write_some(client: Client) -> None:
        for key in keys:
            await client.put(key)
        client.close()

    async with asyncio.TaskGroup() as group:
        for number in range(_CLIENTS):
            group.create_task(write_some(Client(f"backlog{number}", stage.urls[number % 2 :], history, random)))


async def _write_and_read(stage: Stage, history: History, random: Random) -> None:
    """Write, and read that very version from the store, as if nothing had happened: within half a second."""
    client = Client("afterwards", stage.urls, history, random)
    write = await client.put("backlog/afterwards")
    read = await client.get("backlog/afterwards", in_session=True, fresh=True)
    client.close()
    assert read.found is not None
    assert read.found.version == write.version


async def _have_handled(stage: Stage, mutations: int) -> bool:
    return await asyncio.to_thread(stage.handled) >= mutations
