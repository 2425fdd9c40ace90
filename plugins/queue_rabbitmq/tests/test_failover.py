"""Nodes that die, hang and come back under load: nothing that was confirmed is lost."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kvcore.errors import UnavailableError
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
from kvcore.testing.servers import RabbitCluster, ServerProcess
from kvcore.testing.waiting import eventually
from kvcore_queue_rabbitmq import RabbitQueue, RabbitSettings

logger = logging.getLogger(__name__)

DEADLINE_S = 2.0
"""After as long a caller gives up, as the core does."""


class Load:
    """Writers and a worker; counts what was confirmed and what was applied."""

    def __init__(self, queue: RabbitQueue) -> None:
        self.queue = queue
        self.confirmed: set[str] = set()
        self.submitted: set[str] = set()
        self.applied: set[str] = set()
        self._keys = itertools.count(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write and work until leaving."""
        tasks = [asyncio.create_task(step()) for step in (self._publish, self._publish, self._submit, self._work)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def more(self) -> None:
        """Wait until a write that begins from now on is confirmed, another is answered, and both are applied."""
        confirmed, submitted = len(self.confirmed), len(self.submitted)

        async def more() -> bool:
            return len(self.confirmed) > confirmed + 2 and len(self.submitted) > submitted + 1

        await eventually(more, within_s=60, what="writes")

    async def settled(self) -> None:
        """Wait until all that was confirmed or answered is applied."""

        async def settled() -> bool:
            return self.confirmed | self.submitted <= self.applied

        await eventually(settled, within_s=60, what="what was confirmed")

    async def _publish(self) -> None:
        while True:
            await self._write(lambda mutation: self.queue.publish("writes", [mutation]), self.confirmed)

    async def _submit(self) -> None:
        while True:
            await self._write(lambda mutation: self.queue.submit([mutation]), self.submitted)

    async def _write(self, call: Callable[[Mutation], object], written: set[str]) -> None:
        number = next(self._keys)
        mutation = Mutation(f"key {number}", Entry(Version(f"{number:024x}"), b"value"))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await call(mutation)  # type: ignore[misc]  # both are coroutines, of various results
            written.add(mutation.key)
        except (UnavailableError, TimeoutError):
            await asyncio.sleep(0.02)  # not to spin while there is no server; nothing is waited for

    async def _work(self) -> None:
        while True:
            try:
                async with self.queue.consume("writes", 50) as deliveries:
                    async for delivery in deliveries:
                        self.applied |= {message.mutation.key for message in delivery.messages}
                        await delivery.settle([Outcome(Verdict.APPLIED)] * len(delivery.messages))
            except UnavailableError:
                await asyncio.sleep(0.05)  # as above


def node_of(cluster: RabbitCluster, address: str) -> ServerProcess:
    """Return the node at an address."""
    return next(node for node in cluster.nodes if node.address == address)


def connected(queue: RabbitQueue, cluster: RabbitCluster) -> ServerProcess:
    """Return the node that the queue publishes to."""
    return node_of(cluster, queue._publishing.prepared.link.host)


@pytest.mark.parametrize("which", ["connected", "leader"])
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_node_that_is_lost_loses_nothing(
    queue: RabbitQueue,
    settings: RabbitSettings,
    cluster: RabbitCluster,
    which: str,
    how: str,
) -> None:
    """While a node dies or hangs, and comes back, writes go on through the others, and all confirmed ones are applied."""
    load = Load(queue)
    async with load.running():
        await load.more()
        leader = await asyncio.to_thread(cluster.queue_leader, f"{settings.prefix}.writes")
        node = connected(queue, cluster) if which == "connected" else leader
        getattr(node, how)()
        begun = time.monotonic()
        await load.more()
        logger.warning("%s of the %s node: writes again after %.1f s", how, which, time.monotonic() - begun)
        await asyncio.to_thread(cluster.restore)
        await load.more()
        await load.settled()
    assert (await queue.stats()).dead_letters == 0


async def test_a_cluster_that_is_killed_and_started_again_loses_nothing(
    queue: RabbitQueue, cluster: RabbitCluster
) -> None:
    """While there is no node, calls are refused at once; when all are back, everything that was confirmed is there."""
    load = Load(queue)
    async with load.running():
        await load.more()
        for node in cluster.nodes:
            node.kill()

        async def refused() -> bool:
            try:
                await queue.ping()
            except UnavailableError as error:
                return error.outcome == "not-applied"
            return False

        await eventually(refused, what="the refusal")
        await asyncio.to_thread(cluster.restore)
        await load.more()
        await load.settled()


async def test_who_waits_for_a_confirm_is_told_at_once_when_the_connection_is_lost(
    queue: RabbitQueue, cluster: RabbitCluster
) -> None:
    """A publish and a submit under way end with the outcome unknown, not with the deadline of who waits."""
    node = connected(queue, cluster)
    node.pause()
    mutation = Mutation("key", Entry(Version("1" * 24), b"value"))
    calls = [asyncio.create_task(call) for call in (queue.publish("writes", [mutation]), queue.submit([mutation]))]
    await asyncio.sleep(0)
    node.kill()
    async with asyncio.timeout(10):
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, UnavailableError)
            assert result.outcome == "unknown"


async def test_a_majority_that_is_missing_is_noticed(queue: RabbitQueue, cluster: RabbitCluster) -> None:
    """With one node of three a ping does not succeed, and neither does a write."""
    await queue.ping()
    kept = connected(queue, cluster)
    for node in cluster.nodes:
        if node is not kept:
            node.kill()
    queue._publishing.prepared.confirmed_at = 0  # the last proof is from before
    for call in (queue.ping(), queue.publish("writes", [Mutation("key", Entry(Version("1" * 24)))])):
        with pytest.raises((UnavailableError, TimeoutError)):
            async with asyncio.timeout(DEADLINE_S):
                await call


async def test_opens_and_closes_without_a_server(settings: RabbitSettings, cluster: RabbitCluster) -> None:
    """A node starts while there is no RabbitMQ, is refused until there is, and then goes on without being told."""
    for node in cluster.nodes:
        node.kill()
    queue = RabbitQueue(settings)
    async with queue.connected():
        with pytest.raises(UnavailableError, match="no RabbitMQ node can be used"):
            await queue.ping()
        await asyncio.to_thread(cluster.restore)

        async def answered() -> bool:
            try:
                return bool(await queue.ping())
            except UnavailableError:
                return False

        await eventually(answered, within_s=30, what="the connection")


async def test_closing_does_not_wait_for_a_server_that_hangs(settings: RabbitSettings, cluster: RabbitCluster) -> None:
    """With every node paused the queue closes all the same, and leaves no task behind."""
    before = asyncio.all_tasks()
    queue = RabbitQueue(settings)
    async with asyncio.timeout(30):
        async with queue.connected(), queue.consume("writes", 1):
            for node in cluster.nodes:
                node.pause()

        async def ended() -> bool:
            return asyncio.all_tasks() <= before

        await eventually(ended, what="the end of all tasks")
