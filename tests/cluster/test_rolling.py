"""What clients notice, through NGINX, of restarts, of reloads, and of the end of one node: nothing, but for writes on that node.

Half of the clients connect anew for each request and repeat nothing. The others keep their connections; what they send again, on
a connection that was closed before the first byte of an answer, is counted and shown in the summary.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from random import Random, SystemRandom
from typing import Final

import msgspec
import pytest

from deploy.local.topology import Topology
from kvcore.testing.servers import ServerProcess
from tests.cluster.clients import Connections
from tests.faults.availability import is_served
from tests.faults.history import History, Read, Write, check
from tests.faults.load import Client, running_load
from tests.faults.rest import read_back

pytestmark = pytest.mark.timeout(300)

_OPERATIONS: Final = 500
"""At least so many are done before something is done to the topology, and after it."""
_RELOADS: Final = 5
_HASTY: Final = 8
"""How many clients write without a pause, besides those that take their time: so that there is always a request on its way."""


class Seen(msgspec.Struct):
    """What clients did and saw, and a line that counts it."""

    history: History
    counted: str

    @property
    def failed_reads(self) -> list[Read]:
        """Reads that were answered neither 200 nor 404."""
        return [read for read in self.history.reads if not is_served(read)]

    @property
    def failed_writes(self) -> list[Write]:
        """Writes that were answered neither that they are done nor that their condition does not hold."""
        return [write for write in self.history.writes if not is_served(write)]


def nodes_one_after_the_other(topology: Topology) -> None:
    """As a deployment does: the next one when the one before is ready again."""
    _restart(topology.service.nodes)


def workers_one_after_the_other(topology: Topology) -> None:
    """The same."""
    _restart(topology.service.workers)


def reloads_of_nginx(topology: Topology) -> None:
    """Each when the one before is over."""
    for _ in range(_RELOADS):
        topology.proxy.reload()


@pytest.mark.parametrize("restart", [nodes_one_after_the_other, workers_one_after_the_other, reloads_of_nginx])
async def test_nobody_notices_a_restart_of(
    restart: Callable[[Topology], None], whole: Topology, remarks: list[str]
) -> None:
    """Every request is served, reads are never older than what their client knows, and no acknowledged write is lost."""
    seen = await _seen_by_clients(whole, lambda: restart(whole), name=restart.__name__)

    remarks.append(f"{seen.counted}; failed: {len(seen.failed_reads)} reads, {len(seen.failed_writes)} writes")
    assert seen.failed_reads == []
    assert seen.failed_writes == []
    assert check(seen.history) == []


async def test_a_killed_node_costs_no_more_than_the_writes_that_it_had(whole: Topology, remarks: list[str]) -> None:
    """Every read is served. A write that fails was under way when the node was killed; what it has come of breaks no rule."""
    struck: list[float] = []

    def kill() -> None:
        struck.append(time.monotonic())
        whole.service.nodes[1].kill()
        struck.append(time.monotonic())

    seen = await _seen_by_clients(whole, kill, name="kill_of_a_node")

    begin_s, end_s = struck
    under_way = [write for write in seen.history.writes if write.began_s <= end_s and write.ended_s >= begin_s]
    failed = seen.failed_writes
    remarks.append(
        f"{seen.counted}; failed: {len(seen.failed_reads)} reads, {len(failed)} of the {len(under_way)} writes under way"
        f" ({', '.join(write.fate for write in failed) or 'none'})"
    )
    assert seen.failed_reads == []
    assert [write for write in failed if write not in under_way] == []
    assert check(seen.history) == []


async def _seen_by_clients(topology: Topology, act: Callable[[], None], *, name: str) -> Seen:
    """Run a load through NGINX while something is done to the topology, and read everything back from the store."""
    connections = Connections()
    seed = SystemRandom().randrange(1_000_000)
    urls = [topology.proxy.url]
    prefix = f"{name}/{seed}"
    async with running_load(urls, prefix=prefix, seed=seed, connect=connections) as load, asyncio.TaskGroup() as hasty:
        over = asyncio.Event()
        for number in range(_HASTY):
            client = Client(f"hasty{number}", urls, load.history, Random(seed), connect=connections)
            hasty.create_task(_write_hastily(client, f"{prefix}/hasty/{number}", over))
        await load.does(_OPERATIONS)
        await asyncio.to_thread(act)
        await load.does(_OPERATIONS)
        over.set()
    await asyncio.to_thread(topology.service.restore)
    await read_back(urls, load.history)
    return Seen(load.history, f"{name}: {connections.counted}")


async def _write_hastily(client: Client, key: str, over: asyncio.Event) -> None:
    while not over.is_set():
        await client.put(key)
    client.close()


def _restart(processes: Iterable[ServerProcess]) -> None:
    for process in processes:
        process.restart()
