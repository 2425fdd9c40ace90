"""Putting messages into queues, and waiting for the replies to some of them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as AmqpChannel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from kvcore.errors import OverloadedError, UnavailableError
from kvcore.model import Mutation, Outcome
from kvcore_queue_rabbitmq.link import Link
from kvcore_queue_rabbitmq.packing import NOTHING, UnreadableError, pack, pack_outcomes, portions, unpack_outcomes

__all__ = ("REASON", "Publisher", "confirmed")

logger = logging.getLogger(__name__)

REASON: Final = "x-kvcore-reason"
"""The header of a dead letter that says why it is one."""
_REPLIES: Final = "amq.rabbitmq.reply-to"
"""The server's own way back to a connection: nothing to declare, and gone with the connection, as those who wait are."""
_CONTENT_TYPE: Final = "application/vnd.kvcore.pack"
_PERSISTENT: Final = 2
_STALLED_S: Final = 3.0
"""After this time without a confirm another connection is tried. It is longer than any caller waits."""

T = TypeVar("T")

_FULL: Final = 0.7
"""A queue that was full takes messages again below 0.8 of its length: with fewer than this it has no reason to refuse."""
_MAX_REASON: Final = 4096  # a header must fit into one frame


class Publisher:
    """Publishes on one connection: confirmed, persistent, and never into the void."""

    def __init__(self, link: Link, max_length: int, confirming: AmqpChannel, replying: AmqpChannel) -> None:
        self.link = link
        self._max_length = max_length
        self.confirmed_at = float("-inf")
        self._confirming = confirming
        self._replying = replying
        self._waiting: dict[str, asyncio.Future[list[Outcome]]] = {}

    @classmethod
    async def on(cls, link: Link, max_length: int) -> Publisher:
        """Prepare a connection for publishing into queues that are full with `max_length` messages."""
        publisher = cls(link, max_length, await link.channel(confirms=True), await link.channel())
        await link.run(
            publisher._confirming.basic_consume(_REPLIES, publisher._on_reply, no_ack=True),
            "not-applied",
        )
        return publisher

    async def publish(self, queue: str, mutations: Sequence[Mutation], max_bytes: int) -> None:
        """Put mutations into a queue; return when all are confirmed. Raises as `Queue.publish`."""
        self.link.check()
        await confirmed(
            self._put(queue, pack(portion), Basic.Properties(message_id=_new_id()))
            for portion in portions(mutations, max_bytes)
        )

    async def submit(self, queue: str, mutations: Sequence[Mutation], max_bytes: int) -> Sequence[Outcome]:
        """Put mutations into a queue and wait for their outcomes. Raises as `Queue.submit`."""
        self.link.check()
        asked = {_new_id(): portion for portion in portions(mutations, max_bytes)}
        answers = {message_id: asyncio.get_running_loop().create_future() for message_id in asked}
        self._waiting |= answers
        try:
            await confirmed(
                self._put(queue, pack(portion), Basic.Properties(message_id=message_id, reply_to=_REPLIES))
                for message_id, portion in asked.items()
            )
            found = await self.link.run(_each(answers.values()), "unknown")
        finally:
            for message_id, answer in answers.items():
                self._waiting.pop(message_id, None)
                answer.cancel()
        outcomes = [outcome for answered in found for outcome in answered]
        if len(outcomes) != len(mutations):
            raise UnavailableError("a worker has answered with another number of outcomes than it was asked for")
        return outcomes

    async def bury(self, queue: str, letters: Iterable[tuple[str, bytes, str]]) -> None:
        """Put dead letters, each an id, a body and a reason, into their queue; return when all are confirmed."""
        self.link.check()
        await confirmed(
            self._put(queue, body, Basic.Properties(message_id=letter_id, headers={REASON: reason[:_MAX_REASON]}))
            for letter_id, body, reason in letters
        )

    async def prove(self, queue: str, *, mandatory: bool = True) -> None:
        """Return when a message that carries nothing is confirmed: by its queue, which must be there if `mandatory`."""
        self.link.check()
        await self._put(queue, NOTHING, Basic.Properties(message_id=_new_id()), mandatory=mandatory)

    async def reply(self, to: str, message_id: str, outcomes: Sequence[Outcome]) -> None:
        """Send outcomes to the one who waits for them, unless that is impossible now."""
        properties = Basic.Properties(correlation_id=message_id, content_type=_CONTENT_TYPE)
        try:
            self.link.check()
            await self.link.run(
                self._replying.basic_publish(
                    pack_outcomes(outcomes), routing_key=to, properties=properties, wait=False
                ),
                "unknown",
            )
        except UnavailableError as error:
            logger.warning("an outcome cannot be told to the one who waits for it: %s", error)

    async def _put(self, queue: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True) -> None:
        properties.delivery_mode = _PERSISTENT
        properties.content_type = _CONTENT_TYPE
        properties.timestamp = datetime.now(UTC)
        putting = self._confirming.basic_publish(
            body, routing_key=queue, properties=properties, mandatory=mandatory, wait=False
        )
        try:
            await self.link.run(self._watched(putting), "unknown")
        except OverloadedError:
            await self._doubt(queue)
            raise
        except UnavailableError as error:
            if isinstance(error.__cause__, PublishError):
                self.link.abort("the queue is gone, and will be declared on the next connection")
            raise
        self.confirmed_at = time.monotonic()

    async def _watched(self, putting: Coroutine[Any, Any, T]) -> T:
        """Await a confirm; one that stays away for long ends the connection, whoever waits for it.

        A channel that met the queue while its leader hung waits for that one, though the queue has another leader by now.
        """
        stalled = asyncio.get_running_loop().call_later(_STALLED_S, self._give_up)
        try:
            return await putting
        finally:
            stalled.cancel()

    def _give_up(self) -> None:
        if not self.link.is_blocked:
            self.link.abort(f"a message was not confirmed within {_STALLED_S:g} s")

    async def _doubt(self, queue: str) -> None:
        """Return when a queue that has refused a message is full indeed.

        The server refuses as well where it cannot reach the queue's leader, and a channel that met the queue between two
        leaders asks the old one for ever. So a refusal without a reason ends the connection; the next one finds the leader.

        Raises:
            UnavailableError: it is not full; nothing was kept.
        """
        seen = await self.link.look(queue)
        if (seen.message_count or 0) < _FULL * self._max_length:
            self.link.abort("messages are refused though there is room: the queue has no leader, or another one")
            raise UnavailableError("RabbitMQ refuses the message: the queue has no leader now", outcome="not-applied")

    async def _on_reply(self, message: DeliveredMessage) -> None:
        answer = self._waiting.get(message.header.properties.correlation_id or "")
        if answer is None or answer.done():
            return  # nobody waits any more
        try:
            answer.set_result(unpack_outcomes(message.body))
        except UnreadableError as error:
            answer.set_exception(UnavailableError(f"the outcomes that a worker has sent are {error}"))


async def confirmed(puts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all; if some failed and some did not, what became of the whole is unknown."""
    results = await asyncio.gather(*puts, return_exceptions=True)
    failures = [result for result in results if result is not None]
    for failure in failures:
        if not isinstance(failure, UnavailableError) or failure.outcome == "unknown":
            raise failure
    if failures and len(failures) < len(results):
        raise UnavailableError(f"a part was kept, another was not: {failures[0]}") from failures[0]
    if failures:
        raise failures[0]


async def _each(answers: Iterable[asyncio.Future[list[Outcome]]]) -> list[list[Outcome]]:
    return [await answer for answer in answers]


def _new_id() -> str:
    return secrets.token_hex(12)
