"""The queue "rabbitmq"."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from kvcore.backends import Ability, Channel, DeadLetter, Delivery, PoolStats, Queue, QueueStats
from kvcore.model import Mutation, Outcome
from kvcore_queue_rabbitmq.consuming import Consumer
from kvcore_queue_rabbitmq.graveyard import Graveyard
from kvcore_queue_rabbitmq.link import Link, tls_context
from kvcore_queue_rabbitmq.publishing import Publisher
from kvcore_queue_rabbitmq.settings import RabbitSettings
from kvcore_queue_rabbitmq.supervisor import Supervisor
from kvcore_queue_rabbitmq.topology import CHANNELS, Topology

__all__ = ("RabbitQueue", "open_rabbitmq")

_OPENING_S: Final = 3.0
"""How long opening waits for hosts that do not answer: not the sum of their timeouts, which can be a dozen seconds."""
_PROOF_S: Final = 1.0
"""How long a confirm is proof that the queue takes messages."""
_ENOUGH: Final = 100
"""With as many messages waiting a ping adds none: should nobody ever take them, pings must not fill the queue."""


class RabbitQueue:
    """Quorum queues of RabbitMQ: see `kvcore.backends.Queue` and `DeadLetters`.

    To publish and to consume there is a connection each: under an alarm the server stops reading from those who
    publish, and the queues must be drained all the same.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.DURABLE, Ability.SHARED, Ability.DEAD_LETTERS, Ability.PREFETCHING, Ability.POOL}
    )

    def __init__(self, settings: RabbitSettings, tls: ssl.SSLContext | None = None, *, watch_s: float = 5.0) -> None:
        self._settings = settings
        self._topology = Topology(settings)
        self._watch_s = watch_s
        self._graveyard = Graveyard(self._topology.dead)
        self._publishing = Supervisor(settings, tls, self._prepare_publishing)
        self._consuming = Supervisor(settings, tls, self._prepare)
        self._consumers: dict[Channel, set[Consumer]] = {channel: set() for channel in CHANNELS}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Keep both connections until leaving; enters also when there is no server, or none that answers soon."""
        until_s = asyncio.get_running_loop().time() + _OPENING_S
        async with self._publishing.kept(until_s), self._consuming.kept(until_s):
            yield

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        queue = self._topology.name(channel)
        await self._publishing.prepared.publish(queue, mutations, self._settings.max_message_bytes)

    async def submit(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        queue = self._topology.name("writes")
        return await self._publishing.prepared.submit(queue, mutations, self._settings.max_message_bytes)

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[AsyncIterator[Delivery]]:
        consumer = Consumer(
            self._consuming.prepared,
            self._topology.name(channel),
            limit,
            dead=self._topology.dead,
            publisher=lambda: self._publishing.prepared,
            watch_s=self._watch_s,
        )
        try:
            await consumer.enter()
            self._consumers[channel].add(consumer)
            yield consumer
        finally:
            self._consumers[channel].discard(consumer)
            await consumer.leave()

    async def stats(self) -> QueueStats:
        link = self._consuming.prepared
        seen = {channel: await link.look(self._topology.name(channel)) for channel in CHANNELS}
        dead = await link.look(self._topology.dead)
        return QueueStats(
            waiting={channel: queue.message_count or 0 for channel, queue in seen.items()},
            # The server does not tell what all consumers have in hand; these are those of this process.
            unsettled={channel: sum(one.in_hand for one in some) for channel, some in self._consumers.items()},
            consumers={channel: queue.consumer_count or 0 for channel, queue in seen.items()},
            dead_letters=dead.message_count,
        )

    async def ping(self) -> str:
        publisher, queue = self._publishing.prepared, self._topology.name("writes")
        publisher.link.check()
        if time.monotonic() - publisher.confirmed_at > _PROOF_S:
            seen = await publisher.link.look(queue)
            if (seen.message_count or 0) < _ENOUGH:
                await publisher.prove(queue)
        return publisher.link.server

    def pool(self) -> PoolStats:
        """Return the connection to publish and the one to consume, which is in use as long as anybody consumes."""
        supervisors = (self._publishing, self._consuming)
        links = [one.link for one in supervisors if one.link is not None]
        consumed = self._consuming.link if any(self._consumers.values()) else None
        return PoolStats(
            open=len(links),
            in_use=sum(link is consumed or link.is_used for link in links),
            limit=None,
            retries=sum(one.retries for one in supervisors),
        )

    # --- dead letters -------------------------------------------------------------------------------------------------

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        return await self._graveyard.letters(self._consuming.prepared, limit)

    async def replay(self, ids: Sequence[str]) -> int:
        async def revive(mutations: Sequence[Mutation]) -> None:
            await self.publish("writes", mutations)

        return await self._graveyard.take(self._consuming.prepared, ids, self._publishing.prepared, revive)

    async def discard(self, ids: Sequence[str]) -> int:
        return await self._graveyard.take(self._consuming.prepared, ids, self._publishing.prepared)

    async def _prepare(self, link: Link) -> Link:
        channel = await link.passing_channel()
        await link.run(self._topology.declare(channel), "not-applied")
        await link.run(channel.close(), "not-applied")
        return link

    async def _prepare_publishing(self, link: Link) -> Publisher:
        return await Publisher.on(await self._prepare(link), self._settings.max_length)


@asynccontextmanager
async def open_rabbitmq(settings: RabbitSettings) -> AsyncIterator[Queue]:
    """Yield the queue, connected if a host answers, else looking for one.

    Raises:
        SettingsError: the certificates to trust cannot be read.
    """
    # The driver tells of each lost connection with a traceback; `Supervisor` does so in one line.
    logging.getLogger("aiormq").setLevel(logging.ERROR)
    queue = RabbitQueue(settings, tls_context(settings))
    async with queue.connected():
        yield queue
