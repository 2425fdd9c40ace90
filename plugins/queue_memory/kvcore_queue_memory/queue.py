"""Two lines of messages in memory, and the dead letters."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, get_args

import msgspec
from msgspec import Meta

from kvcore.backends import Ability, Channel, DeadLetter, Delivery, Queue, QueueStats
from kvcore.errors import OverloadedError, UnavailableError
from kvcore.model import Mutation, Outcome
from kvcore_queue_memory.line import Consumer, Line, Pending

__all__ = ("MemoryQueue", "MemoryQueueSettings", "open_queue")

CHANNELS: tuple[Channel, ...] = get_args(Channel)


class MemoryQueueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much the queue may hold."""

    max_messages: Annotated[
        int,
        Meta(
            ge=1,
            description="Most messages: waiting, in the hands of workers, and dead letters. Beyond it writes are refused with 503.",
        ),
    ] = 100_000


class MemoryQueue:
    """A queue in the memory of this process: see `kvcore.backends.Queue` and `DeadLetters`.

    Messages come in the order in which they were published. What a consumer gives back goes to the front.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.DEAD_LETTERS})

    def __init__(self, settings: MemoryQueueSettings) -> None:
        self._max_messages = settings.max_messages
        self._lines: dict[Channel, Line] = {channel: Line() for channel in CHANNELS}
        self._dead: dict[str, DeadLetter] = {}
        self._ids = itertools.count(1)

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        self._put(channel, [Pending(mutation) for mutation in mutations])

    async def submit(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in mutations]
        self._put("writes", [Pending(mutation, answer) for mutation, answer in zip(mutations, answers, strict=True)])
        return await asyncio.gather(*answers)

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[AsyncIterator[Delivery]]:
        line = self._lines[channel]
        consumer = Consumer(line, limit, self._bury)
        line.consumers.add(consumer)
        try:
            yield consumer
        finally:
            consumer.leave()
            line.consumers.discard(consumer)

    async def stats(self) -> QueueStats:
        return QueueStats(
            waiting={channel: len(line.waiting) for channel, line in self._lines.items()},
            unsettled={channel: line.unsettled for channel, line in self._lines.items()},
            consumers={channel: len(line.consumers) for channel, line in self._lines.items()},
            dead_letters=len(self._dead),
        )

    async def ping(self) -> str:
        return "this process"

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        return list(itertools.islice(self._dead.values(), limit))

    async def replay(self, ids: Sequence[str]) -> int:
        letters = self._exhume(ids)
        self._lines["writes"].put([Pending(letter.mutation) for letter in letters])
        return len(letters)

    async def discard(self, ids: Sequence[str]) -> int:
        return len(self._exhume(ids))

    def close(self) -> None:
        """End the waiting of everyone who waits, with `UnavailableError`."""
        for line in self._lines.values():
            line.close()

    def _put(self, channel: Channel, pending: Sequence[Pending]) -> None:
        line = self._lines[channel]
        if line.closed:
            raise UnavailableError("the queue is closed", outcome="not-applied")
        kept = len(self._dead) + sum(len(line.waiting) + line.unsettled for line in self._lines.values())
        if kept + len(pending) > self._max_messages:
            raise OverloadedError(f"the queue is full: it holds {kept} messages of at most {self._max_messages}")
        line.put(pending)

    def _bury(self, mutation: Mutation, reason: str) -> None:
        letter = DeadLetter(str(next(self._ids)), mutation, reason)
        self._dead[letter.id] = letter

    def _exhume(self, ids: Sequence[str]) -> list[DeadLetter]:
        found = (self._dead.pop(one, None) for one in ids)
        return [letter for letter in found if letter is not None]


@asynccontextmanager
async def open_queue(settings: MemoryQueueSettings) -> AsyncIterator[Queue]:
    """Yield an empty queue, which is forgotten on leaving."""
    queue = MemoryQueue(settings)
    try:
        yield queue
    finally:
        queue.close()
