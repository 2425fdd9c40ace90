"""What is special to the queue in memory: its bound, its order, and its end."""

from __future__ import annotations

import asyncio

import pytest

from kvcore.errors import OverloadedError, UnavailableError
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
from kvcore_queue_memory import MemoryQueue, MemoryQueueSettings


def mutations(count: int) -> list[Mutation]:
    """Return mutations of different keys, versions ascending."""
    return [Mutation(f"key {n}", Entry(Version(f"{n:024x}"), b"value")) for n in range(count)]


REJECTED = Outcome(Verdict.REJECTED, reason="for a test")


async def test_refuses_more_than_it_may_hold() -> None:
    """A call that does not fit is refused whole, and what fits is taken."""
    queue = MemoryQueue(MemoryQueueSettings(max_messages=5))
    await queue.publish("writes", mutations(3))
    with pytest.raises(OverloadedError) as caught:
        await queue.publish("refreshes", mutations(3))
    assert caught.value.outcome == "not-applied"
    with pytest.raises(OverloadedError):
        await queue.submit(mutations(3))
    await queue.publish("refreshes", mutations(2))
    assert (await queue.stats()).waiting == {"writes": 3, "refreshes": 2}


async def test_what_is_in_hand_and_what_is_dead_counts_as_held() -> None:
    """A message takes room until it is settled, and a rejected one until it is discarded."""
    queue = MemoryQueue(MemoryQueueSettings(max_messages=1))
    await queue.publish("writes", mutations(1))
    async with queue.consume("writes", 1) as deliveries:
        delivery = await anext(deliveries)
        with pytest.raises(OverloadedError):
            await queue.publish("writes", mutations(1))
        await delivery.settle([REJECTED])
    with pytest.raises(OverloadedError):
        await queue.publish("writes", mutations(1))
    assert await queue.discard([letter.id for letter in await queue.dead_letters(9)]) == 1
    await queue.publish("writes", mutations(1))


async def test_gives_back_to_the_front_in_the_old_order() -> None:
    """What a consumer leaves is delivered next, as if it had never been taken, but for the mark."""
    queue = MemoryQueue(MemoryQueueSettings())
    await queue.publish("writes", mutations(6))
    async with queue.consume("writes", 2) as deliveries:
        await anext(deliveries)
        await anext(deliveries)
    async with queue.consume("writes", 9) as deliveries:
        messages = (await anext(deliveries)).messages
    assert [message.mutation for message in messages] == mutations(6)
    assert [message.redelivered for message in messages] == [True] * 4 + [False] * 2


async def test_a_delivery_that_was_given_back_cannot_be_settled() -> None:
    """Settling what is in other hands by now raises, and ends nothing."""
    queue = MemoryQueue(MemoryQueueSettings())
    await queue.publish("writes", mutations(1))
    async with queue.consume("writes", 1) as deliveries:
        delivery = await anext(deliveries)
    with pytest.raises(UnavailableError):
        await delivery.settle([REJECTED])
    assert (await queue.stats()).waiting["writes"] == 1
    assert await queue.dead_letters(9) == []


async def test_consumers_of_a_closed_queue_are_told() -> None:
    """Who waits for messages while the queue is closed gets `UnavailableError`."""
    queue = MemoryQueue(MemoryQueueSettings())
    async with queue.consume("writes", 1) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0)
        queue.close()
        with pytest.raises(UnavailableError):
            await waiting
