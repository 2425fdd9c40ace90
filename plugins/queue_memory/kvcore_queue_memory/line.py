"""One channel: messages that wait in line, the consumers who take them, and what these have in hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from kvcore.backends import Message
from kvcore.errors import UnavailableError
from kvcore.model import Mutation, Outcome, Verdict

__all__ = ("Consumer", "Line", "Pending")


class Pending:
    """A mutation that is not settled yet, and the future of the one who waits for its outcome, if any."""

    __slots__ = ("answer", "message")

    def __init__(self, mutation: Mutation, answer: asyncio.Future[Outcome] | None = None) -> None:
        self.message = Message(mutation)
        self.answer = answer

    def settled(self, outcome: Outcome) -> None:
        """Answer the one who waits, unless nobody does any more."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(outcome)

    def failed(self) -> None:
        """Tell the one who waits that no outcome will come."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(UnavailableError("the queue was closed before the outcome was known"))


class Line:
    """Messages that wait, oldest first, and the consumers who compete for them."""

    def __init__(self) -> None:
        self.waiting: deque[Pending] = deque()
        self.consumers: set[Consumer] = set()
        self.closed = False
        self._changed = asyncio.Event()

    @property
    def unsettled(self) -> int:
        """How many messages are in the hands of consumers."""
        return sum(len(delivery.pending) for consumer in self.consumers for delivery in consumer.in_hand)

    def put(self, pending: Sequence[Pending]) -> None:
        """Put messages at the end."""
        self.waiting.extend(pending)
        self._changed.set()

    def put_back(self, pending: Sequence[Pending]) -> None:
        """Put messages at the front, where they were before they were taken."""
        for back in reversed(pending):
            back.message = Message(back.message.mutation, redelivered=True)
            self.waiting.appendleft(back)
        self._changed.set()

    async def take(self, limit: int) -> list[Pending]:
        """Wait for messages and remove up to `limit` of them.

        Raises:
            UnavailableError: the queue was closed.
        """
        while not self.waiting and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        if self.closed:
            raise UnavailableError("the queue is closed", outcome="not-applied")
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def close(self) -> None:
        """Wake up everyone who waits: nothing will come any more."""
        self.closed = True
        self._changed.set()
        in_hand = [
            pending for consumer in self.consumers for delivery in consumer.in_hand for pending in delivery.pending
        ]
        for pending in (*self.waiting, *in_hand):
            pending.failed()


class Delivery:
    """Messages in the hands of a consumer: see `kvcore.backends.Delivery`."""

    def __init__(self, consumer: Consumer, pending: Sequence[Pending]) -> None:
        self._consumer = consumer
        self.pending = pending
        self.messages: Sequence[Message] = tuple(one.message for one in pending)

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        self._consumer.settle(self, outcomes)


class Consumer:
    """Iterates over deliveries, and keeps those that are not settled, to give them back."""

    def __init__(self, line: Line, limit: int, reject: Callable[[Mutation, str], None]) -> None:
        self._line = line
        self._limit = limit
        self._reject = reject
        self.in_hand: list[Delivery] = []

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Delivery:
        delivery = Delivery(self, await self._line.take(self._limit))
        self.in_hand.append(delivery)
        return delivery

    def settle(self, delivery: Delivery, outcomes: Sequence[Outcome]) -> None:
        """End a delivery.

        Raises:
            UnavailableError: it is not in this consumer's hands any more.
        """
        if delivery not in self.in_hand:
            raise UnavailableError("this delivery has been settled or given back already")
        ended = list(zip(delivery.pending, outcomes, strict=True))
        for pending, outcome in ended:
            if outcome.verdict is Verdict.REJECTED:
                self._reject(pending.message.mutation, outcome.reason)
        for pending, outcome in ended:
            pending.settled(outcome)
        self.in_hand.remove(delivery)

    def leave(self) -> None:
        """Give back what was not settled, so that it is delivered next, in the order in which it was taken."""
        for delivery in reversed(self.in_hand):
            self._line.put_back(delivery.pending)
        self.in_hand.clear()
