"""What the tests of this plugin share: a prefix on the cluster for each test, and ways to look at it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import aiormq
import pytest
from aiormq.abc import AbstractChannel

from kvcore.errors import UnavailableError
from kvcore.secret import Secret
from kvcore.testing.servers import RabbitCluster
from kvcore.testing.waiting import eventually
from kvcore_queue_rabbitmq import RabbitQueue, RabbitSettings


@pytest.fixture
def cluster(rabbitmq_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """Yield the cluster to a test that harms it, and bring it back afterwards."""
    yield rabbitmq_cluster
    rabbitmq_cluster.restore()


@pytest.fixture
async def settings(rabbitmq_cluster: RabbitCluster) -> AsyncIterator[RabbitSettings]:
    """Yield settings with a prefix of their own; its queues are deleted afterwards."""
    settings = RabbitSettings(
        hosts=tuple(rabbitmq_cluster.hosts),
        username=rabbitmq_cluster.username,
        password=Secret(rabbitmq_cluster.password),
        prefix=f"test-{secrets.token_hex(6)}",
    )
    yield settings
    async with asyncio.timeout(30), aiormq.connect(_url(rabbitmq_cluster)) as connection:
        channel = await connection.channel()
        for name in ("writes", "refreshes", "dead"):
            await channel.queue_delete(f"{settings.prefix}.{name}")


@pytest.fixture
async def queue(settings: RabbitSettings) -> AsyncIterator[RabbitQueue]:
    """Yield the open queue, when it is connected: opening itself does not wait for long."""
    queue = RabbitQueue(settings)
    async with queue.connected():

        async def is_connected() -> bool:
            try:
                await queue.stats()
            except UnavailableError:
                return False
            return queue._publishing._prepared is not None

        await eventually(is_connected, within_s=30, what="the connections")
        yield queue


@pytest.fixture
async def channel(rabbitmq_cluster: RabbitCluster) -> AsyncIterator[AbstractChannel]:
    """Yield a channel of the driver's, to see and do what the plugin would not."""
    async with aiormq.connect(_url(rabbitmq_cluster)) as connection:
        yield await connection.channel()


def _url(cluster: RabbitCluster) -> str:
    return f"amqp://{cluster.username}:{cluster.password}@{cluster.hosts[0]}/"
