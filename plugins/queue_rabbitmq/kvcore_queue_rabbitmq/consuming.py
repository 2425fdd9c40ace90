"""Taking messages out of a queue, and settling what they carry."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as AmqpChannel
from aiormq.exceptions import AMQPError

from kvcore.backends import Message
from kvcore.errors import UnavailableError
from kvcore.model import Mutation, Outcome, Verdict
from kvcore_queue_rabbitmq.link import Link
from kvcore_queue_rabbitmq.packing import UnreadableError, pack, unpack
from kvcore_queue_rabbitmq.publishing import Publisher
from kvcore_queue_rabbitmq.translating import reason

__all__ = ("Consumer", "Delivery")

logger = logging.getLogger(__name__)

_PREFETCH: Final = 64
"""Most messages on their way or in hand: enough to work while more arrive, few enough for memory and to be given back.

Single writes of 100 bytes are drained at 90% of the rate that 200 allow; AMQP's limit in bytes is not in RabbitMQ.
"""
_ENTER_S: Final = 2.0
_LEAVE_S: Final = 1.0


class Incoming:
    """A message in hand: the mutations that it carries, and their outcomes as far as they are settled."""

    __slots__ = (
        "body",
        "id",
        "mutations",
        "outcomes",
        "redelivered",
        "reply_to",
        "tag",
        "taken",
        "unreadable",
        "unsettled",
    )

    def __init__(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        self.tag: int = message.delivery_tag or 0
        self.id: str = properties.message_id or ""
        self.reply_to: str = properties.reply_to or ""
        self.redelivered: bool = bool(message.redelivered)
        self.body = b""
        self.unreadable = ""
        self.mutations: list[Mutation] = []
        try:
            self.mutations = unpack(message.body)
        except UnreadableError as error:
            self.unreadable = str(error)
            self.body = message.body  # not kept otherwise: it would be in memory twice
        self.taken = 0
        self.unsettled = len(self.mutations)
        self.outcomes: list[Outcome] = [_NONE] * self.unsettled

    def letter_id(self, position: int) -> str:
        """Return the id that a mutation has as a dead letter, however often this message comes."""
        return f"{self.id}/{position}"


_NONE: Final = Outcome(Verdict.UNKNOWN)

Part = tuple[Incoming, int]
"""A mutation in hand: where it came, and its position there."""


class Delivery:
    """Mutations in the hands of a consumer, out of one or more messages: see `kvcore.backends.Delivery`."""

    def __init__(self, consumer: Consumer, parts: Sequence[Part]) -> None:
        self._consumer = consumer
        self._parts = parts
        self.messages: Sequence[Message] = tuple(
            Message(incoming.mutations[position], incoming.redelivered) for incoming, position in parts
        )

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        parts, self._parts = self._parts, ()
        if not parts:
            raise UnavailableError("this delivery has been settled already")
        await self._consumer.settle(parts, outcomes)


class Consumer:
    """Consumes a queue on a channel of its own, whose end gives back to the queue what is not acknowledged.

    A watchdog looks after it while it is idle: a server can forget a consumer without telling, and the process would
    look healthy for ever.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        limit: int,
        *,
        dead: str,
        publisher: Callable[[], Publisher],
        watch_s: float,
    ) -> None:
        self._link = link
        self._queue = queue
        self._limit = limit
        self._dead = dead
        self._publisher = publisher
        self._watch_s = watch_s
        self._channel: AmqpChannel | None = None
        self._in_hand: deque[Incoming] = deque()
        self._waiting: deque[Incoming] = deque()
        self._changed = asyncio.Event()
        self._received = 0
        self._over = ""
        self._tag = ""
        self._is_stopped = False
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    # --- entering and leaving -----------------------------------------------------------------------------------------

    async def enter(self) -> None:
        """Begin to consume.

        Raises:
            UnavailableError: the server does not let us.
        """
        self._starting = self._link.spawn(self._start())
        try:
            async with asyncio.timeout(_ENTER_S):
                await self._link.result(self._starting, "not-applied")
        except TimeoutError:
            raise UnavailableError(f"RabbitMQ did not open {self._queue} within {_ENTER_S:g} s") from None
        self._watching = self._link.spawn(self._watch())
        self._watching.add_done_callback(lambda _: self._end("the connection was lost"))

    async def stop(self) -> None:
        """Receive nothing more: see `kvcore.backends.Prefetching`."""
        self._check()
        if self._channel is not None and not self._is_stopped:
            # All that is on its way comes before the answer to this.
            await self._link.run(self._channel.basic_cancel(self._tag), "unknown")
            self._is_stopped = True
            self._changed.set()

    async def leave(self) -> None:
        """Give back what was not acknowledged, also when this is cancelled."""
        self._end("the consumer has left")
        if not self._link.lost.is_set():
            await asyncio.wait((self._link.spawn(self._close()),))

    async def _start(self) -> None:
        channel = self._channel = await self._link.passing_channel()
        channel.closing.add_done_callback(self._channel_closed)
        channel.on_consumer_cancel_callbacks.add(lambda _: self._end("the server has cancelled the consumer"))
        await channel.basic_qos(prefetch_count=min(self._limit, _PREFETCH))
        begun = await channel.basic_consume(self._queue, self._on_message)
        self._tag = begun.consumer_tag or ""

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_LEAVE_S):
                if self._starting is not None:
                    await asyncio.wait((self._starting,))
                if self._watching is not None:
                    self._watching.cancel()
                if self._channel is not None:
                    await self._channel.close()
        except TimeoutError:
            self._link.abort("a channel that holds messages does not close")

    def _channel_closed(self, closing: asyncio.Future[None]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._end("the channel was closed" + (f": {reason(error)}" if isinstance(error, AMQPError) else ""))

    def _end(self, why: str) -> None:
        self._over = self._over or why
        self._changed.set()

    def _check(self) -> None:
        if self._over:
            raise UnavailableError(f"consuming {self._queue} has ended: {self._over}")

    async def _watch(self) -> None:
        suspected = False
        while True:
            received = self._received
            await asyncio.sleep(self._watch_s)  # the watchdog's interval
            if self._in_hand or self._received != received or self._is_stopped:
                continue
            seen = await self._link.look(self._queue)
            if not seen.consumer_count or (seen.message_count and suspected):
                self._end("the server has forgotten the consumer")
            suspected = bool(seen.message_count)

    @property
    def in_hand(self) -> int:
        """How many messages are in hand, or on their way from the server."""
        return len(self._in_hand)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Delivery:
        parts: list[Part] = []
        while not parts:
            while not self._waiting and not self._over:
                if self._is_stopped:
                    raise StopAsyncIteration
                self._changed.clear()
                await self._changed.wait()
            self._check()
            while self._waiting and len(parts) < self._limit:
                incoming = self._waiting[0]
                if not incoming.mutations:
                    self._waiting.popleft()
                    await self._pass_over(incoming)
                    continue
                stop = min(len(incoming.mutations), incoming.taken + self._limit - len(parts))
                parts += [(incoming, position) for position in range(incoming.taken, stop)]
                incoming.taken = stop
                if stop == len(incoming.mutations):
                    self._waiting.popleft()
        return Delivery(self, parts)

    async def _on_message(self, message: DeliveredMessage) -> None:
        incoming = Incoming(message)
        self._received += 1
        self._in_hand.append(incoming)
        self._waiting.append(incoming)
        self._changed.set()

    async def _pass_over(self, incoming: Incoming) -> None:
        """Acknowledge a message that carries nothing, or nothing that can be read here, which is kept as a dead letter."""
        if incoming.unreadable:
            logger.error("a message is %s: it goes to the dead letters", incoming.unreadable)
            letter = (incoming.id or f"unnamed-{incoming.tag}", incoming.body, f"the message is {incoming.unreadable}")
            await self._publisher().bury(self._dead, [letter])
        await self._acknowledge([incoming])

    # --- settling -----------------------------------------------------------------------------------------------------

    async def settle(self, parts: Sequence[Part], outcomes: Sequence[Outcome]) -> None:
        """End a delivery: see `kvcore.backends.Delivery.settle`."""
        self._check()
        settled = list(zip(parts, outcomes, strict=True))
        await self._bury([(part, outcome) for part, outcome in settled if outcome.verdict is Verdict.REJECTED])
        finished: list[Incoming] = []
        for (incoming, position), outcome in settled:
            incoming.outcomes[position] = outcome
            incoming.unsettled -= 1
            if not incoming.unsettled:
                finished.append(incoming)
        for incoming in finished:
            if incoming.reply_to:
                await self._reply(incoming)
        self._check()
        await self._acknowledge(finished)

    async def _bury(self, rejected: Sequence[tuple[Part, Outcome]]) -> None:
        letters = [
            (incoming.letter_id(position), pack([incoming.mutations[position]]), outcome.reason)
            for (incoming, position), outcome in rejected
        ]
        if letters:
            await self._publisher().bury(self._dead, letters)

    async def _reply(self, incoming: Incoming) -> None:
        try:
            publisher = self._publisher()
        except UnavailableError as error:
            logger.warning("an outcome cannot be told to the one who waits for it: %s", error)
        else:
            await publisher.reply(incoming.reply_to, incoming.id, incoming.outcomes)

    async def _acknowledge(self, finished: Sequence[Incoming]) -> None:
        """Acknowledge messages: at once all up to the first that is not finished, the others one by one."""
        done = {incoming.tag for incoming in finished}
        up_to = 0
        while self._in_hand and self._in_hand[0].tag in done:
            up_to = self._in_hand.popleft().tag
        acks = [(up_to, True)] if up_to else []
        for incoming in finished:
            if incoming.tag > up_to:
                self._in_hand.remove(incoming)
                acks.append((incoming.tag, False))
        for tag, multiple in acks:
            await self._ack(tag, multiple=multiple)

    async def _ack(self, tag: int, *, multiple: bool) -> None:
        if self._channel is not None:
            await self._link.run(self._channel.basic_ack(tag, multiple=multiple, wait=False), "unknown")
