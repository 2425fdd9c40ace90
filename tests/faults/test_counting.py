"""Two hundred clients increment one counter by `If-Match`: no increment is lost, and none counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcore.testing.servers import Service, ServiceProcess
from tests.faults.counting import Tally, count_up
from tests.faults.stage import LONG, Stage

pytestmark = pytest.mark.timeout(300)

CLIENTS = 200
SECONDS = 30.0 if LONG else 6.0


def check(tally: Tally, remarks: list[str], where: str) -> None:
    """The counter is what the clients were told, and no version was given twice."""
    remarks.append(
        f"counter, {where}: {tally.succeeded} increments and {tally.failed} refusals by {CLIENTS} clients;"
        f" {tally.repeated} requests sent again, {tally.unnoticed} of which had succeeded; counter {tally.final}"
    )
    assert tally.final == tally.succeeded
    assert set(tally.versions.values()) == {1}
    assert tally.failed > tally.succeeded > 0, "there was no contention"


async def test_on_the_memory_profile(remarks: list[str]) -> None:
    """Through a queue and a worker in the same process."""
    with Service({"profile": "memory"}) as service:
        check(await count_up(service.urls, "counter", clients=CLIENTS, seconds=SECONDS), remarks, "memory")


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[ServiceProcess]:
    """Give a node on the embedded profile that can be killed and started again."""
    with Service({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as service:
        yield service.nodes[0]


async def test_on_the_embedded_profile_while_the_node_is_killed(embedded: ServiceProcess, remarks: list[str]) -> None:
    """What was answered, and what a repeated request was answered first, survives the process."""

    async def kill_and_start() -> None:
        for _ in range(2):
            await asyncio.sleep(SECONDS / 4)  # of load, before the fault
            await asyncio.to_thread(embedded.kill)
            await asyncio.to_thread(embedded.start)

    counting = count_up([embedded.url], "counter", clients=CLIENTS, seconds=SECONDS)
    tally, _ = await asyncio.gather(counting, kill_and_start())
    check(tally, remarks, "embedded, killed twice")


@pytest.mark.parametrize("nodes", [1, 2])
async def test_on_the_production_profile_while_workers_are_killed(stage: Stage, nodes: int, remarks: list[str]) -> None:
    """A worker that dies leaves what it had in hand to the other one; through two nodes it is the same counter."""

    async def kill_and_start() -> None:
        for worker in stage.workers:
            await asyncio.sleep(SECONDS / 4)  # of load, before the fault
            await asyncio.to_thread(worker.kill)
            await asyncio.sleep(SECONDS / 8)  # of load, with a single worker
            await asyncio.to_thread(worker.start)

    counting = count_up(stage.urls[:nodes], f"counter-{nodes}", clients=CLIENTS, seconds=SECONDS)
    tally, _ = await asyncio.gather(counting, kill_and_start())
    check(tally, remarks, f"production, {nodes} of 2 nodes, workers killed")
