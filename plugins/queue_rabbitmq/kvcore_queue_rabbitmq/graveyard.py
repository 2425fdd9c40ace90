"""The queue of dead letters: looking at it, and taking out of it.

AMQP cannot look into a queue: messages are taken, and given back. While one node does so another one sees fewer; none
is lost, as all of them belong to the channel, which gives back what it still has when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as AmqpChannel
from pamqp.commands import Basic

from kvcore.backends import DeadLetter
from kvcore.model import ZERO, Entry, Mutation
from kvcore_queue_rabbitmq.link import Link
from kvcore_queue_rabbitmq.packing import UnreadableError, pack, unpack
from kvcore_queue_rabbitmq.publishing import REASON, Publisher

__all__ = ("Grave", "Graveyard")

_CLOSE_S: Final = 2.0


class Grave:
    """A message in the queue of dead letters.

    A worker has put it there, with one letter, or the server itself, with all that the message carried.
    """

    def __init__(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        headers: dict[str, Any] = dict(properties.headers or {})
        identity = properties.message_id or f"unnamed-{message.delivery_tag}"
        self.tag: int = message.delivery_tag or 0
        self.body = message.body
        self.readable = True
        given = headers.get(REASON)
        why = str(given) if given is not None else _of_server(headers)
        try:
            mutations = unpack(message.body)
        except UnreadableError:
            self.readable = False
            content = Entry(ZERO, message.body, "application/octet-stream")
            mutations = [Mutation(f"(unreadable message {identity})", content)]
        single = given is not None
        self.letters = [
            DeadLetter(identity if single else f"{identity}/{position}", mutation, why)
            for position, mutation in enumerate(mutations)
        ]


def _of_server(headers: dict[str, Any]) -> str:
    why = headers.get("x-first-death-reason", "for a reason unknown")
    queue = headers.get("x-first-death-queue", "a queue")
    return f"RabbitMQ has taken it out of {queue}: {why}"


class Graveyard:
    """Lists dead letters, and takes them out, one caller at a time."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._turn = asyncio.Lock()

    async def letters(self, link: Link, limit: int) -> Sequence[DeadLetter]:
        """Return up to `limit` letters."""
        found: dict[str, DeadLetter] = {}
        async with self._taking(link) as graves:
            async for grave in graves:
                for letter in grave.letters:
                    found.setdefault(letter.id, letter)
                if len(found) >= limit:
                    break
        return list(found.values())[:limit]

    async def take(
        self,
        link: Link,
        ids: Sequence[str],
        publisher: Publisher,
        revive: Callable[[Sequence[Mutation]], Awaitable[None]] | None = None,
    ) -> int:
        """Take letters out, after `revive` was given their mutations; return how many there were.

        What one message carries may be wanted in part only: then the rest is put back first, each letter for itself.
        """
        wanted, taken = set(ids), set[str]()
        async with self._taking(link) as graves:
            while taken < wanted and (grave := await anext(graves, None)) is not None:
                chosen = [letter for letter in grave.letters if letter.id in wanted]
                if not chosen or (revive is not None and not grave.readable):
                    continue
                if revive is not None:
                    await revive([letter.mutation for letter in chosen])
                rest = [letter for letter in grave.letters if letter.id not in wanted]
                if rest:
                    await publisher.bury(self._queue, [(one.id, pack([one.mutation]), one.reason) for one in rest])
                await graves.acknowledge(grave)
                taken |= {letter.id for letter in chosen}
        return len(taken)

    @asynccontextmanager
    async def _taking(self, link: Link) -> AsyncIterator[_Graves]:
        async with self._turn:
            graves = _Graves(link, await link.passing_channel(), self._queue)
            try:
                yield graves
            finally:
                await asyncio.wait((link.spawn(graves.give_back()),))


class _Graves:
    """Takes the messages of the queue one after the other, and gives back in the end those not acknowledged."""

    def __init__(self, link: Link, channel: AmqpChannel, queue: str) -> None:
        self._link = link
        self._channel = channel
        self._queue = queue
        self._last = 0

    def __aiter__(self) -> _Graves:
        return self

    async def __anext__(self) -> Grave:
        message = await self._link.run(self._channel.basic_get(self._queue), "not-applied")
        if not isinstance(message.delivery, Basic.GetOk):
            raise StopAsyncIteration
        grave = Grave(message)
        self._last = grave.tag
        return grave

    async def acknowledge(self, grave: Grave) -> None:
        """Take a message out for good."""
        await self._link.run(self._channel.basic_ack(grave.tag, wait=False), "unknown")

    async def give_back(self) -> None:
        """Give back the rest, and wait until the server has heard it."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                if self._last:
                    await self._channel.basic_nack(self._last, multiple=True, requeue=True, wait=False)
                await self._channel.close()
        except TimeoutError:
            self._link.abort("a channel that holds dead letters does not close")
