"""What is special to the queue on RabbitMQ, on a cluster that is well."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiormq.abc import AbstractChannel
from aiormq.channel import Channel as AmqpChannel
from pamqp.commands import Basic

from kvcore.backends import Delivery, Message, PoolStats
from kvcore.errors import OverloadedError, SettingsError, UnavailableError
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
from kvcore.testing.servers import RabbitCluster
from kvcore.testing.servers.ports import free_port
from kvcore.testing.waiting import eventually
from kvcore_queue_rabbitmq import FACTORY, RabbitQueue, RabbitSettings, link, topology
from kvcore_queue_rabbitmq.packing import pack
from kvcore_queue_rabbitmq.publishing import confirmed

APPLIED = Outcome(Verdict.APPLIED)
REJECTED = Outcome(Verdict.REJECTED, reason="for a test")


def mutations(count: int, *, size: int = 5) -> list[Mutation]:
    """Return mutations of different keys, versions ascending."""
    return [Mutation(f"key {n}", Entry(Version(f"{n + 1:024x}"), bytes(size))) for n in range(count)]


@asynccontextmanager
async def opened(settings: RabbitSettings, *, watch_s: float = 5.0) -> AsyncIterator[RabbitQueue]:
    """Open a queue."""
    queue = RabbitQueue(settings, watch_s=watch_s)
    async with queue.connected():
        yield queue


async def following(deliveries: AsyncIterator[Delivery]) -> Delivery:
    """Return the next delivery, within 10 s."""
    async with asyncio.timeout(10):
        return await anext(deliveries)


async def drained(queue: RabbitQueue, count: int, *, limit: int = 100) -> list[Message]:
    """Consume and settle until `count` mutations have come."""
    received: list[Message] = []
    async with queue.consume("writes", limit) as deliveries:
        while len(received) < count:
            delivery = await following(deliveries)
            received += delivery.messages
            await delivery.settle([APPLIED] * len(delivery.messages))
    return received


# --- connections ------------------------------------------------------------------------------------------------------


async def test_tells_of_its_two_connections(queue: RabbitQueue) -> None:
    """One to publish, in use while anything is on its way, and one to consume, in use while anybody does."""

    async def idle() -> bool:
        return queue.pool() == PoolStats(open=2, in_use=0, limit=None, retries=queue.pool().retries)

    await eventually(idle, what="two connections at rest")
    publishing = asyncio.ensure_future(queue.publish("writes", mutations(1)))
    seen = set()
    while not publishing.done():
        seen.add(queue.pool().in_use)
        await asyncio.sleep(0)
    assert 1 in seen
    async with queue.consume("refreshes", 1):
        assert queue.pool().in_use >= 1
    await eventually(idle, what="two connections at rest again")


async def test_tells_how_often_it_has_tried_to_connect_again() -> None:
    """While there is no server there are no connections, and each further try counts."""
    async with opened(RabbitSettings(hosts=(f"127.0.0.1:{free_port()}",))) as queue:

        async def tried() -> bool:
            return queue.pool().retries > 2

        await eventually(tried, what="some tries")
        assert (queue.pool().open, queue.pool().in_use) == (0, 0)


# --- packs ------------------------------------------------------------------------------------------------------------


async def test_what_was_published_in_one_call_travels_in_one_message(queue: RabbitQueue) -> None:
    """A call makes as few messages as the size limit allows."""
    await queue.publish("writes", mutations(100))
    assert (await queue.stats()).waiting["writes"] == 1
    await queue.publish("writes", mutations(3, size=300_000))
    assert (await queue.stats()).waiting["writes"] == 4


async def test_a_delivery_joins_messages_that_are_there(queue: RabbitQueue) -> None:
    """Messages that wait already come in fewer deliveries than they are."""
    for mutation in mutations(20):
        await queue.publish("writes", [mutation])
    deliveries_count = 0
    async with queue.consume("writes", 20) as deliveries:
        received: list[Message] = []
        while len(received) < 20:
            delivery = await following(deliveries)
            received += delivery.messages
            deliveries_count += 1
            await delivery.settle([APPLIED] * len(delivery.messages))
    assert deliveries_count < 20
    assert [message.mutation for message in received] == mutations(20)


async def test_a_message_is_acknowledged_when_all_of_its_parts_are_settled(queue: RabbitQueue) -> None:
    """Who leaves with one part of a message unsettled gives back all of it; when every part is settled, it is gone."""
    await queue.publish("writes", mutations(5))
    async with queue.consume("writes", 2) as deliveries:
        for _ in range(2):
            await (await following(deliveries)).settle([APPLIED] * 2)
        await following(deliveries)
    received = await drained(queue, 5, limit=2)
    assert [message.mutation for message in received] == mutations(5)
    assert all(message.redelivered for message in received)
    assert (await queue.stats()).waiting["writes"] == 0


async def test_parts_are_answered_together(queue: RabbitQueue) -> None:
    """Who submits more than a delivery takes gets all outcomes, in order, in whatever order the parts are settled."""
    submitted = asyncio.create_task(queue.submit(mutations(3)))
    async with queue.consume("writes", 1) as deliveries:
        parts = [await following(deliveries) for _ in range(3)]
        for part in reversed(parts):
            assert not submitted.done()
            await part.settle([Outcome(Verdict.APPLIED, part.messages[0].mutation.version)])
        outcomes = await asyncio.wait_for(submitted, 10)
    assert [outcome.version for outcome in outcomes] == [mutation.version for mutation in mutations(3)]


async def test_messages_are_settled_in_any_order(queue: RabbitQueue) -> None:
    """A message that is settled before an earlier one is gone, and the earlier one comes again."""
    earlier, later = mutations(4)[:2], mutations(4)[2:]
    await queue.publish("writes", earlier)
    await queue.publish("writes", later)
    async with queue.consume("writes", 2) as deliveries:
        await following(deliveries)
        second = await following(deliveries)
        assert [message.mutation for message in second.messages] == later
        await second.settle([APPLIED] * 2)
    assert [message.mutation for message in await drained(queue, 2)] == earlier
    assert (await queue.stats()).waiting["writes"] == 0


async def test_a_message_that_cannot_be_read_is_kept_as_a_dead_letter(
    queue: RabbitQueue, settings: RabbitSettings, channel: AbstractChannel
) -> None:
    """What another release has written does not stop the channel; it can be seen and discarded, but not replayed."""
    properties = Basic.Properties(message_id="of-tomorrow", delivery_mode=2)
    await channel.basic_publish(b"\x7fwords", routing_key=f"{settings.prefix}.writes", properties=properties)
    await queue.publish("writes", mutations(1))
    assert [message.mutation for message in await drained(queue, 1)] == mutations(1)
    (letter,) = await queue.dead_letters(9)
    assert letter.id == "of-tomorrow"
    assert "format 7f is not known" in letter.reason
    assert letter.mutation.entry.value == b"\x7fwords"
    assert await queue.replay([letter.id]) == 0
    assert await queue.discard([letter.id]) == 1


# --- back-pressure ----------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses(settings: RabbitSettings) -> None:
    """Beyond the length set, publish and submit are refused with nothing kept; when it was drained, they are taken."""
    async with opened(msgspec.structs.replace(settings, max_length=5)) as queue:
        kept = 0

        async def refused() -> bool:
            nonlocal kept
            try:
                await queue.publish("writes", mutations(1))
            except OverloadedError as error:
                return error.outcome == "not-applied"
            kept += 1
            return False

        await eventually(refused, what="the refusal")
        with pytest.raises(OverloadedError):
            await queue.submit(mutations(1))
        assert len(await drained(queue, kept)) == kept

        async def taken() -> bool:
            try:
                await queue.publish("writes", mutations(1))
            except OverloadedError:
                return False
            return True

        await eventually(taken, what="room in the queue")


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (["full", "full"], "not-applied"),
        (["full", "kept"], "unknown"),
        (["full", "lost"], "unknown"),
        (["kept", "lost"], "unknown"),
    ],
)
async def test_a_call_of_several_messages_fails_as_a_whole(ends: list[str], outcome: str) -> None:
    """Only when every message of a call was refused is it said that nothing is kept."""

    async def put(end: str) -> None:
        if end == "full":
            raise OverloadedError("full")
        if end == "lost":
            raise UnavailableError("lost")

    with pytest.raises(UnavailableError) as caught:
        await confirmed(put(end) for end in ends)
    assert caught.value.outcome == outcome
    await confirmed(put(end) for end in ["kept", "kept"])


async def test_an_alarm_refuses_and_draining_goes_on(queue: RabbitQueue, cluster: RabbitCluster) -> None:
    """Under a memory alarm, once the server has said so, writes are refused at once, and what waits is consumed."""
    await queue.publish("writes", mutations(2))

    async def set_memory(limit: str) -> None:
        await asyncio.to_thread(cluster.ctl, "set_vm_memory_high_watermark", "absolute", limit)

    async def published() -> UnavailableError | None:
        try:
            async with asyncio.timeout(0.5):
                await queue.publish("writes", mutations(1))
        except UnavailableError as error:
            return error
        except TimeoutError:
            pass
        return None

    await set_memory("1000")
    try:

        async def refused() -> bool:
            return isinstance(await published(), OverloadedError)

        await eventually(refused, what="the refusal")
        with pytest.raises(OverloadedError):
            await queue.ping()
        assert len(await drained(queue, 2)) >= 2
    finally:
        await set_memory("1GB")

    async def taken() -> bool:
        return await published() is None

    await eventually(taken, what="the end of the alarm")


# --- declaring --------------------------------------------------------------------------------------------------------


async def test_queues_that_were_declared_otherwise_are_refused(settings: RabbitSettings) -> None:
    """Calls say which argument differs, and nothing is published."""
    async with opened(settings):
        pass
    async with opened(msgspec.structs.replace(settings, max_length=7)) as queue:
        with pytest.raises(UnavailableError, match="another x-max-length") as caught:
            await queue.publish("writes", mutations(1))
        assert caught.value.outcome == "not-applied"
        with pytest.raises(UnavailableError, match="another x-max-length"):
            async with queue.consume("writes", 1):
                pass


async def test_a_queue_that_was_deleted_is_declared_again(
    queue: RabbitQueue, settings: RabbitSettings, channel: AbstractChannel
) -> None:
    """A write to a queue that is gone is certainly not kept, and soon there is a queue again."""
    await channel.queue_delete(f"{settings.prefix}.writes")
    with pytest.raises(UnavailableError) as caught:
        await queue.publish("writes", mutations(1))
    assert caught.value.outcome == "not-applied"

    async def published() -> bool:
        try:
            await queue.publish("writes", mutations(1))
        except UnavailableError:
            return False
        return True

    await eventually(published, what="the queue declared again")


def test_the_certificates_to_trust_must_be_readable() -> None:
    """With TLS, a file that cannot be read is a fault of the settings."""

    async def use() -> None:
        async with FACTORY.open(RabbitSettings(tls=True, ca_file="not/there.pem")):
            pass

    with pytest.raises(SettingsError, match=r"not/there\.pem"):
        asyncio.run(use())


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "a..b:5672"])
async def test_a_host_that_cannot_be_an_address_is_named(host: str) -> None:
    """Opening goes on, and calls say what is wrong, as with any other host that cannot be reached."""
    async with asyncio.timeout(10), opened(RabbitSettings(hosts=(host,))) as queue:
        with pytest.raises(UnavailableError, match="cannot be an address"):
            await queue.ping()


async def test_opening_does_not_wait_for_hosts_that_do_not_answer() -> None:
    """A node starts though connections are neither accepted nor refused, and is refused what it asks for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = RabbitSettings(hosts=(f"127.0.0.1:{silent.getsockname()[1]}",), connect_timeout_s=600)
        async with asyncio.timeout(30), opened(settings) as queue:
            with pytest.raises(UnavailableError, match="no RabbitMQ node can be used"):
                await queue.ping()


# --- connections ------------------------------------------------------------------------------------------------------


async def test_a_process_that_stands_still_keeps_its_connection(
    settings: RabbitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that came while this process was busy, for longer than the heartbeat, counts."""
    ask, asked = link._any_answer, asyncio.Event()

    async def standing_still(channel: AmqpChannel) -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 1.2)
        await ask(channel)
        asked.set()

    monkeypatch.setattr(link, "_any_answer", standing_still)
    async with opened(msgspec.structs.replace(settings, heartbeat_s=1.0)) as queue:
        connection = queue._publishing.prepared.link
        async with asyncio.timeout(10):
            await asyncio.wait(
                [asyncio.ensure_future(event.wait()) for event in (asked, connection.lost)],
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert not connection.lost.is_set()


# --- consumers --------------------------------------------------------------------------------------------------------


async def test_a_consumer_that_the_server_cancels_is_told(
    queue: RabbitQueue, settings: RabbitSettings, channel: AbstractChannel
) -> None:
    """When its queue is deleted, who waits for messages gets an error, instead of waiting for ever."""
    async with queue.consume("writes", 1) as deliveries:
        await channel.queue_delete(f"{settings.prefix}.writes")
        # By the server's word, or because the watchdog has found no such queue, whichever comes first.
        with pytest.raises(
            UnavailableError, match=r"has ended: the (server has cancelled the consumer|connection was lost)"
        ):
            await following(deliveries)


async def test_a_consumer_whose_channel_the_server_closes_is_told(queue: RabbitQueue) -> None:
    """As when a worker has held messages for longer than the server allows: what it held comes again to who enters anew."""
    await queue.publish("writes", mutations(3))
    async with queue.consume("writes", 9) as deliveries:
        held = await following(deliveries)
        await deliveries._channel.basic_ack(99)  # type: ignore[attr-defined]  # a fault, for which the server closes
        with pytest.raises(UnavailableError, match="unknown delivery tag"):
            await following(deliveries)
        with pytest.raises(UnavailableError, match="unknown delivery tag"):
            await held.settle([APPLIED] * 3)
    assert all(message.redelivered for message in await drained(queue, 3))


async def test_the_watchdog_finds_a_consumer_that_is_gone(settings: RabbitSettings) -> None:
    """When the server does not know the consumer any more and has not said so, who waits is told all the same."""
    async with opened(settings, watch_s=0.1) as queue, queue.consume("writes", 1) as deliveries:
        consumer_channel = deliveries._channel  # type: ignore[attr-defined]  # there is no other way to its consumer
        (tag,) = consumer_channel.consumers
        await consumer_channel.basic_cancel(tag)
        with pytest.raises(UnavailableError, match="forgotten"):
            await following(deliveries)


async def test_a_consumer_with_work_in_hand_is_left_alone(settings: RabbitSettings) -> None:
    """However long a worker takes, its consumer is not taken for gone."""
    async with opened(settings, watch_s=0.02) as queue, queue.consume("writes", 1) as deliveries:
        await queue.publish("writes", mutations(1))
        await queue.publish("writes", mutations(1))
        for _ in range(2):
            delivery = await following(deliveries)
            await asyncio.sleep(0.2)  # ten times as long as the watchdog waits
            await delivery.settle([APPLIED])


async def test_a_delivery_is_settled_once(queue: RabbitQueue) -> None:
    """Settling again, or after leaving, raises and changes nothing."""
    await queue.publish("writes", mutations(1))
    async with queue.consume("writes", 1) as deliveries:
        delivery = await following(deliveries)
        await delivery.settle([APPLIED])
        with pytest.raises(UnavailableError):
            await delivery.settle([REJECTED])
        await queue.publish("writes", mutations(1))
        late = await following(deliveries)
    with pytest.raises(UnavailableError):
        await late.settle([REJECTED])
    assert await queue.dead_letters(9) == []
    await drained(queue, 1)


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_a_message_that_ends_worker_after_worker_becomes_dead_letters(
    settings: RabbitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the limit of deliveries is reached the server buries the message; each of its mutations is a letter of its own."""
    monkeypatch.setattr(topology, "_DELIVERY_LIMIT", 1)
    async with opened(settings) as queue:
        await queue.publish("writes", mutations(3))
        for _ in range(2):
            async with queue.consume("writes", 3) as deliveries:
                await following(deliveries)

        async def buried() -> bool:
            return (await queue.stats()).dead_letters == 1

        await eventually(buried, what="the burial")
        letters = await queue.dead_letters(9)
        assert [letter.mutation for letter in letters] == mutations(3)
        assert all("delivery_limit" in letter.reason for letter in letters)
        assert await queue.replay([letters[1].id]) == 1
        assert [message.mutation for message in await drained(queue, 1)] == [mutations(3)[1]]
        left = await queue.dead_letters(9)
        assert {letter.id for letter in left} == {letters[0].id, letters[2].id}
        assert {letter.reason for letter in left} == {letters[0].reason}
        assert await queue.discard([letter.id for letter in left]) == 2
        assert await queue.dead_letters(9) == []


async def test_what_is_rejected_twice_is_one_dead_letter(queue: RabbitQueue, settings: RabbitSettings) -> None:
    """A rejected mutation that comes again, as its message was not acknowledged, is not listed twice."""
    await queue.publish("writes", mutations(2))
    for _ in range(2):
        async with queue.consume("writes", 1) as deliveries:
            await (await following(deliveries)).settle([REJECTED])
    assert (await queue.stats()).dead_letters == 2
    (letter,) = await queue.dead_letters(9)
    assert letter.mutation == mutations(1)[0]


async def test_two_who_list_lose_nothing(settings: RabbitSettings) -> None:
    """Nodes that look at the dead letters at the same time may see fewer; afterwards all are there."""
    async with opened(settings) as first, opened(settings) as second:
        for mutation in mutations(20):
            await first.publish("writes", [mutation])
        async with first.consume("writes", 20) as deliveries:
            count = 0
            while count < 20:
                delivery = await following(deliveries)
                count += len(delivery.messages)
                await delivery.settle([REJECTED] * len(delivery.messages))
        await asyncio.gather(*(node.dead_letters(n) for node in (first, second) for n in (3, 9, 20)))
        for node in (first, second):
            letters = await node.dead_letters(99)
            assert {letter.mutation.key for letter in letters} == {mutation.key for mutation in mutations(20)}


async def test_a_reason_may_be_long(queue: RabbitQueue) -> None:
    """The reason of a dead letter is kept as far as there is room for it."""
    await queue.publish("writes", mutations(1))
    async with queue.consume("writes", 1) as deliveries:
        await (await following(deliveries)).settle([Outcome(Verdict.REJECTED, reason="é" * 1_000_000)])
    (letter,) = await queue.dead_letters(9)
    assert letter.reason == "é" * 4096


async def test_a_pack_that_equals_nothing_is_not_delivered(
    queue: RabbitQueue, settings: RabbitSettings, channel: AbstractChannel
) -> None:
    """The messages of pings carry nothing, and consumers never see them."""
    for _ in range(3):
        await channel.basic_publish(pack(()), routing_key=f"{settings.prefix}.writes")
    await queue.publish("writes", mutations(1))
    assert [message.mutation for message in await drained(queue, 1)] == mutations(1)

    async def empty() -> bool:
        return (await queue.stats()).waiting["writes"] == 0

    await eventually(empty, what="an empty queue")
