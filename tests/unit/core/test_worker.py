"""The worker: nothing is settled before the store has it and the cache knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from kvcore.backends import Ability, Channel, Message
from kvcore.errors import UnavailableError
from kvcore.metrics import Metrics
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version
from tests.unit.core.fakes import FakeDelivery, FakeQueue, Fault
from tests.unit.core.stage import Stage, fate_of


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(600):
        while not condition():
            await asyncio.sleep(0.01)


async def answers_to(stage: Stage, *messages: Message) -> list[Verdict]:
    """Let a worker handle a delivery, and return what it settles each message with."""
    settled: list[Outcome] = []

    class Delivery(FakeDelivery):
        async def settle(self, outcomes: Sequence[Outcome]) -> None:
            settled.extend(outcomes)

    await stage.worker()._handle_writes(Delivery(stage.queue, messages))
    return [outcome.verdict for outcome in settled]


@pytest.mark.parametrize("way", ["before", "after", "hang", "bug"])
async def test_a_worker_holds_what_it_has_while_the_store_is_down(way: Fault) -> None:
    """The queue is the buffer: nothing is settled, lost or given back, and all is applied when the store is back."""
    stage = Stage()
    stage.fail(store=way)
    for i in range(10):
        await stage.service.put(str(i), b"value")
    async with stage.working():
        await until(lambda: stage.store.faults.calls["apply"] > 1)
        assert stage.queue.in_hand["writes"] == 10
        assert not stage.queue.faults.calls["settle"]
        stage.heal()
        await stage.drained()
    assert len(stage.store.entries) == 10


async def test_an_outage_is_two_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """However often the worker tries, it says once what is wrong and once that it is over."""
    caplog.set_level(logging.INFO, logger="kvcore.worker")
    stage = Stage()
    stage.fail(store="before")
    await stage.service.put("key", b"value")
    async with stage.working():
        await until(lambda: stage.store.faults.calls["apply"] > 5)
        stage.heal()
        await stage.drained()
    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if "applying: the server is down" in message] == messages[:1]
    assert "applying: works again" in messages
    assert len(messages) < 5


async def test_the_age_of_what_a_worker_holds_is_shown() -> None:
    """While the store is down the metrics tell how far behind it is, though nothing moves."""
    stage = Stage()
    stage.fail(store="before")
    await stage.service.put("key", b"value")
    shown = Metrics()
    task = asyncio.create_task(stage.worker(metrics=shown).run())
    await until(lambda: stage.store.faults.calls["apply"] > 1)
    oldest = shown.registry.get_sample_value
    assert oldest("kvcore_lag_oldest_seconds") > 0  # type: ignore[operator]  # it is there
    stage.heal()
    await stage.drained()
    await until(lambda: oldest("kvcore_lag_oldest_seconds") == 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("way", ["before", "hang", "bug"])
async def test_refreshes_are_put_off_while_the_cache_is_down(way: Fault) -> None:
    """The writes go on, and what the cache has missed is delivered when it is back."""
    stage = Stage()
    old = await stage.service.put("key", b"old")
    async with stage.working():
        await stage.drained()
        stage.fail(cache=way)
        await stage.service.put("key", b"new", ack="stored")
        await until(lambda: not stage.queue.in_hand["writes"])
        slot = stage.cache.slot("key")
        assert isinstance(slot, Entry)
        assert slot.version == old.version
        stage.heal()
        await stage.drained()
    assert stage.cache.slot("key") is None


async def test_a_full_queue_does_not_keep_a_worker_from_emptying_it() -> None:
    """Refreshes that the full queue does not take are given to the cache itself, as soon as it is back."""
    stage = Stage()
    await stage.service.put("key", b"value")
    stage.queue.bound = 0
    stage.fail(cache="before")
    async with stage.working():
        await until(lambda: stage.cache.faults.calls["refresh"])
        stage.cache.faults.heal()
        await stage.drained()
    assert stage.cache.slot("key") == stage.store.entries["key"]


async def test_a_poisonous_mutation_is_rejected_alone() -> None:
    """What the store refuses goes to the dead letters with its reason; the others of its batch are applied."""
    stage = Stage()
    stage.store.poison.add(b"poison")
    await stage.service.put("a", b"good")
    await stage.service.put("b", b"poison")
    await stage.service.put("c", b"good")
    async with stage.working():
        await stage.drained()
    assert set(stage.store.entries) == {"a", "c"}
    assert [(mutation.key, reason) for mutation, reason in stage.queue.dead] == [("b", "poison")]
    assert stage.cache.slot("b") is None


async def test_a_worker_that_is_stopped_finishes_what_it_has_in_hand() -> None:
    """Stopping in the middle of a delivery costs no redelivery."""
    stage = Stage()
    await stage.service.put("key", b"value")
    async with stage.working() as worker:
        stage.fail(store="before")
        await until(lambda: stage.store.faults.calls["apply"])
        worker.cancel()
        tried = stage.store.faults.calls["apply"]
        await until(lambda: stage.store.faults.calls["apply"] > tried + 1)  # it goes on though it was cancelled
        stage.heal()
        await asyncio.wait([worker])
        assert worker.cancelled()
    assert stage.queue.is_empty
    assert stage.store.entries["key"].value == b"value"


class PrefetchingQueue(FakeQueue):
    """Receives all that is there at once, and hands it over one by one."""

    abilities: ClassVar = FakeQueue.abilities | {Ability.PREFETCHING}

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[AsyncIterator[FakeDelivery]]:
        async with super().consume(channel, 1) as deliveries:
            yield Received(self, channel, deliveries)


class Received:
    """What a consumer has received: until it is stopped, whatever there is."""

    def __init__(self, queue: FakeQueue, channel: Channel, deliveries: AsyncIterator[FakeDelivery]) -> None:
        self._queue = queue
        self._channel = channel
        self._deliveries = deliveries
        self._is_stopped = False

    async def stop(self) -> None:
        self._is_stopped = True

    def __aiter__(self) -> Received:
        return self

    async def __anext__(self) -> FakeDelivery:
        if self._is_stopped and not self._queue.waiting[self._channel]:
            raise StopAsyncIteration
        return await anext(self._deliveries)


async def test_a_worker_that_is_stopped_handles_what_it_has_received() -> None:
    """Stopping costs no redelivery of what a queue has sent ahead, which nobody had tried yet."""
    stage = Stage()
    stage.queue = PrefetchingQueue()
    stage.service = stage.node()
    for number in range(3):
        await stage.service.put(str(number), b"value")
    async with stage.working() as worker:
        stage.fail(store="before")
        await until(lambda: stage.store.faults.calls["apply"])
        worker.cancel()
        tried = stage.store.faults.calls["apply"]
        await until(lambda: stage.store.faults.calls["apply"] > tried + 1)  # it goes on though it was cancelled
        stage.heal()
        await asyncio.wait([worker])
        assert worker.cancelled()
    assert stage.queue.is_empty
    assert stage.store.entries.keys() == {"0", "1", "2"}


async def test_a_worker_that_cannot_finish_gives_back_what_it_has_in_hand() -> None:
    """A stopped worker waits no longer than its drain time; what it had is delivered again."""
    stage = Stage()
    await stage.service.put("key", b"value")
    stage.fail(store="before")
    async with stage.working() as worker:
        await until(lambda: stage.store.faults.calls["apply"])
        began = asyncio.get_running_loop().time()
        worker.cancel()
        await asyncio.wait([worker])
        assert asyncio.get_running_loop().time() - began == pytest.approx(stage.settings.worker.shutdown_s, abs=0.1)
    (message,) = stage.queue.waiting["writes"]
    assert message.redelivered


async def test_a_worker_in_a_hurry_gives_back_what_it_has_in_hand_at_once() -> None:
    """Who does not want to wait for a worker that is stopping need not; what it had is delivered again."""
    stage = Stage()
    await stage.service.put("key", b"value")
    stage.fail(store="before")
    worker = stage.worker()
    task = asyncio.create_task(worker.run())
    await until(lambda: stage.store.faults.calls["apply"])
    task.cancel()
    await until(task.cancelling)
    began = asyncio.get_running_loop().time()
    worker.hurry()
    await asyncio.wait([task])
    assert asyncio.get_running_loop().time() - began < stage.settings.worker.shutdown_s / 2
    (message,) = stage.queue.waiting["writes"]
    assert message.redelivered


@pytest.mark.parametrize(("redelivered", "verdict"), [(False, Verdict.CONFLICT), (True, Verdict.UNKNOWN)])
async def test_a_redelivered_conflict_is_answered_as_unknown(redelivered: bool, verdict: Verdict) -> None:
    """The first delivery may have been applied before something newer came: then it would be wrong to say that it failed."""
    stage = Stage()
    await stage.service.put("key", b"newer", ack="accepted")
    async with stage.working():
        await stage.drained()
    mutation = Mutation("key", Entry(Version("f" * 24), b"mine"), expected=ZERO)
    assert await answers_to(stage, Message(mutation, redelivered)) == [verdict]


async def test_a_redelivered_request_is_answered_with_what_is_remembered() -> None:
    """The store knows whether the request has had its effect: there is nothing unknown about its conflict."""
    stage = Stage()
    await stage.service.put("key", b"newer", ack="accepted")
    async with stage.working():
        await stage.drained()
    mutation = Mutation("key", Entry(Version("f" * 24), b"mine"), ZERO, b"r" * 32)
    assert await answers_to(stage, Message(mutation, redelivered=True)) == [Verdict.CONFLICT]


async def test_a_conflict_with_what_came_after_an_uncertain_apply_is_answered_as_unknown() -> None:
    """The worker itself repeats an apply whose outcome it does not know: what was applied then is not said to have failed."""
    stage = Stage()
    created = Mutation("key", Entry(Version("1" * 24), b"created"), expected=ZERO)
    replaced = Mutation("key", Entry(Version("2" * 24), b"replaced"))
    stage.store.faults.planned.extend([None, "after"])
    assert await answers_to(stage, Message(created), Message(replaced)) == [Verdict.UNKNOWN, Verdict.APPLIED]
    assert [mutation.entry.value for mutation in stage.store.history] == [b"created", b"replaced"]


async def test_a_conflict_after_an_apply_that_certainly_did_nothing_is_a_conflict() -> None:
    """A store that was down for a while is no reason to answer less than is known."""
    stage = Stage()
    await stage.store.apply([Mutation("key", Entry(Version("1" * 24), b"there"))])
    stage.store.faults.planned.append("before")
    late = Mutation("key", Entry(Version("2" * 24), b"late"), expected=ZERO)
    assert await answers_to(stage, Message(late)) == [Verdict.CONFLICT]


async def test_a_redelivered_write_that_was_overwritten_is_not_written_again() -> None:
    """It had its effect before something newer came; to stamp it anew would bring it back over that."""
    stage = Stage()
    other = stage.node()
    writing = asyncio.create_task(stage.service.put("key", b"first", ack="stored"))
    await until(lambda: stage.queue.waiting["writes"])
    (message,) = stage.queue.waiting["writes"]
    await stage.store.apply([message.mutation])  # by a worker that ended before it could settle
    stage.fail(queue="before")
    newer = await other.put("key", b"second", expected=message.mutation.version)
    stage.heal()
    stage.queue.waiting["writes"] = [Message(message.mutation, redelivered=True)]
    async with stage.working():
        assert await fate_of(writing) == "unknown"
    assert stage.store.entries["key"].version == newer.version


async def test_a_worker_comes_back_after_the_queue_was_lost() -> None:
    """A lost connection to the queue is retried for ever."""
    stage = Stage()
    async with stage.working():
        stage.queue.faults.planned.extend(["after", "after", "before"])
        with pytest.raises(UnavailableError):
            await stage.queue.publish("writes", [Mutation("key", Entry(Version("1".zfill(24)), b"value"))])
        await stage.drained()
    assert "key" in stage.store.entries


@pytest.mark.parametrize("step", ["settle", "publish"])
async def test_a_worker_does_not_wait_for_ever_for_the_queue(step: str) -> None:
    """A queue that hangs while a delivery is settled, or a refresh put off, is left; the delivery comes again and ends."""
    stage = Stage()
    await stage.service.put("key", b"value")
    if step == "publish":
        stage.fail(cache="before")
    stage.queue.faults.planned.extend([None, "hang"])
    async with stage.working():
        await until(lambda: not stage.queue.faults.planned)
        await until(lambda: stage.queue.in_hand["writes"] == 0 and not stage.queue.waiting["writes"])
        stage.heal()
        await stage.drained()
    assert stage.store.entries["key"].value == b"value"


async def test_a_worker_survives_a_bug_in_the_queues_backend() -> None:
    """What the contract does not allow costs a redelivery, and not the worker."""
    stage = Stage()
    await stage.service.put("key", b"value")
    stage.queue.faults.always = "bug"
    async with stage.working() as worker:
        await until(lambda: stage.queue.faults.calls["take"] > 1)
        stage.heal()
        await stage.drained()
        assert not worker.done()
    assert "key" in stage.store.entries


async def test_what_was_applied_is_told_to_the_observers() -> None:
    """Plugins that follow the writes see what was applied, and nothing that was refused."""
    stage = Stage()
    stage.store.poison.add(b"poison")
    await stage.service.put("a", b"good")
    await stage.service.put("b", b"poison")
    seen: list[Mutation] = []
    async with stage.working(applied=seen.extend):
        await stage.drained()
    assert [mutation.key for mutation in seen] == ["a"]
