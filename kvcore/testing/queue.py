"""The suite for queues."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar, get_args

import msgspec
import pytest

from kvcore.backends import (
    Ability,
    Channel,
    DeadLetter,
    DeadLetters,
    Delivery,
    Factory,
    Message,
    Prefetching,
    Queue,
    QueueStats,
    dead_letters_of,
    prefetching_of,
)
from kvcore.errors import UnavailableError, UnsupportedError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict
from kvcore.testing.backend import BackendConformance
from kvcore.testing.samples import MEDIA_TYPES, VALUES, odd_keys, version
from kvcore.testing.waiting import cancel_midway, eventually

__all__ = ("QueueConformance",)

T = TypeVar("T")
CHANNELS: tuple[Channel, ...] = get_args(Channel)


class QueueConformance(BackendConformance):
    """What every queue does. The place that `settings` lead to is empty, and nothing but the test uses it."""

    factory: ClassVar[Factory[Queue]]

    @pytest.fixture
    async def queue(self, settings: msgspec.Struct) -> AsyncIterator[Queue]:
        """Yield the open queue."""
        async with self.factory.open(settings) as queue:
            yield queue

    # --- publish and consume ---

    async def test_takes_empty_calls(self, queue: Queue) -> None:
        """A call with nothing in it does nothing, and nobody has to answer it."""
        await queue.publish("writes", [])
        assert list(await self._soon(queue.submit([]))) == []

    async def test_delivers_mutations_as_they_were_published(self, queue: Queue, prefix: str) -> None:
        """Keys of every kind, any bytes, tombstones, conditions, media types, expiries and request ids arrive unchanged, once."""
        mutations = list(_odd_mutations(prefix))
        await queue.publish("writes", mutations)
        received = await self._drain(queue, len(mutations))
        assert all(not message.redelivered for message in received)
        assert _sorted(message.mutation for message in received) == _sorted(mutations)

    async def test_delivers_a_message_as_often_as_it_was_published(self, queue: Queue, prefix: str) -> None:
        """Nothing is taken for a duplicate: of a mutation published three times three come, of one key many."""
        same, other = _mutation(prefix, 1), _mutation(prefix, 2)
        await queue.publish("writes", [same, other, same])
        await queue.publish("writes", [same])
        received = await self._drain(queue, 4)
        assert Counter(message.mutation.version for message in received) == {same.version: 3, other.version: 1}

    async def test_delivers_a_large_message(self, queue: Queue, prefix: str) -> None:
        """A value of a MiB passes through."""
        large = Mutation(prefix, Entry(version(1), bytes(range(256)) * 4096))
        await queue.publish("writes", [large])
        (message,) = await self._drain(queue, 1)
        assert message.mutation == large

    async def test_deliveries_keep_the_limit(self, queue: Queue, prefix: str) -> None:
        """A delivery has at least one message and at most as many as asked for, and all of them come."""
        await queue.publish("writes", [_mutation(f"{prefix}{n}", n) for n in range(1, 101)])
        seen: list[Message] = []
        async with queue.consume("writes", 7) as deliveries:
            while len(seen) < 100:
                delivery = await self._next(deliveries)
                assert 1 <= len(delivery.messages) <= 7
                seen += delivery.messages
                await delivery.settle(_applied(delivery))
        assert {message.mutation.key for message in seen} == {f"{prefix}{n}" for n in range(1, 101)}

    async def test_keeps_the_channels_apart(self, queue: Queue, prefix: str) -> None:
        """What was published on one channel comes on that channel alone."""
        await queue.publish("refreshes", [_mutation(f"{prefix}refreshes", 1)])
        await queue.publish("writes", [_mutation(f"{prefix}writes", 2)])
        for channel in CHANNELS:
            received = await self._drain(queue, 1, channel=channel)
            assert [message.mutation.key for message in received] == [f"{prefix}{channel}"]
        await self._assert_empty(queue)

    async def test_a_waiting_consumer_gets_what_is_published_later(self, queue: Queue, prefix: str) -> None:
        """A consumer of an empty queue waits, and is woken by the next message."""
        async with queue.consume("writes", 10) as deliveries:
            waiting = asyncio.ensure_future(self._next(deliveries))
            await self._until(queue, "consumers", 1)
            assert not waiting.done()
            await queue.publish("writes", [_mutation(prefix, 1)])
            delivery = await waiting
            await delivery.settle(_applied(delivery))
        assert [message.mutation.key for message in delivery.messages] == [prefix]

    async def test_many_publish_at_once(self, queue: Queue, prefix: str) -> None:
        """However many calls are under way, each message of each arrives, once."""
        mutations = [_mutation(f"{prefix}{n}", n + 1) for n in range(400)]
        await asyncio.gather(*(queue.publish("writes", mutations[n : n + 4]) for n in range(0, 400, 4)))
        received = await self._drain(queue, 400)
        assert _sorted(message.mutation for message in received) == _sorted(mutations)
        await self._assert_empty(queue)

    # --- settling ---

    @pytest.mark.parametrize("verdict", Verdict)
    async def test_what_is_settled_does_not_come_again(self, queue: Queue, prefix: str, verdict: Verdict) -> None:
        """A settled message is gone from the channel, whatever became of it."""
        await queue.publish("writes", [_mutation(f"{prefix}settled", 1)])
        async with queue.consume("writes", 10) as deliveries:
            delivery = await self._next(deliveries)
            await delivery.settle([Outcome(verdict, reason="for a test")])
        await self._assert_empty(queue)

    async def test_what_is_not_settled_is_given_back_on_leaving(self, queue: Queue, prefix: str) -> None:
        """Messages of a consumer who leaves come again, marked as redelivered; what it had settled does not."""
        mutations = [_mutation(f"{prefix}{n}", n) for n in range(1, 7)]
        for mutation in mutations:  # each for itself: what was published in one call may be given back as a whole
            await queue.publish("writes", [mutation])
        async with queue.consume("writes", 2) as deliveries:
            settled = await self._next(deliveries)
            await settled.settle(_applied(settled))
            in_hand = await self._next(deliveries)
        done = {message.mutation.key for message in settled.messages}
        received = await self._drain(queue, len(mutations) - len(done))
        assert {message.mutation.key for message in received} == {mutation.key for mutation in mutations} - done
        again = {message.mutation.key for message in received if message.redelivered}
        assert again >= {message.mutation.key for message in in_hand.messages}
        await self._assert_empty(queue)

    async def test_what_is_not_settled_is_given_back_when_the_consumer_fails(self, queue: Queue, prefix: str) -> None:
        """A consumer that ends by an exception loses nothing, and the exception passes."""
        await queue.publish("writes", [_mutation(prefix, 1)])

        async def consumer() -> None:
            async with queue.consume("writes", 10) as deliveries:
                await self._next(deliveries)
                raise ZeroDivisionError("of the consumer")

        with pytest.raises(ZeroDivisionError, match="of the consumer"):
            await consumer()
        (message,) = await self._drain(queue, 1)
        assert message.redelivered

    async def test_a_consumer_who_waits_gets_what_another_gives_back(self, queue: Queue, prefix: str) -> None:
        """A message that was in the hands of one who left goes to one who is waiting already."""
        async with queue.consume("writes", 1) as patient:
            async with queue.consume("writes", 1) as leaving:
                # The first consumer does not ask for messages yet, so the second one gets one, however they are shared
                # out.
                for n in range(1, 9):
                    await queue.publish("writes", [_mutation(f"{prefix}{n}", n)])
                in_hand = await self._next(leaving)
            received: dict[str, bool] = {}
            while len(received) < 8:
                delivery = await self._next(patient)
                received |= {message.mutation.key: message.redelivered for message in delivery.messages}
                await delivery.settle(_applied(delivery))
        assert all(received[message.mutation.key] for message in in_hand.messages)

    async def test_consumers_compete(self, queue: Queue, prefix: str) -> None:
        """Several consumers share the messages: each goes to one of them, and all are handled."""
        count, seen = 200, Counter[str]()
        finished = asyncio.Event()

        async def consumer() -> None:
            async with queue.consume("writes", 5) as deliveries:
                async for delivery in deliveries:
                    seen.update(message.mutation.key for message in delivery.messages)
                    await delivery.settle(_applied(delivery))
                    if seen.total() >= count:
                        finished.set()

        consumers = [asyncio.create_task(consumer()) for _ in range(4)]
        try:
            await queue.publish("writes", [_mutation(f"{prefix}{n}", n + 1) for n in range(count)])
            await self._soon(finished.wait())
        finally:
            for task in consumers:
                task.cancel()
            await asyncio.gather(*consumers, return_exceptions=True)
        assert seen == {f"{prefix}{n}": 1 for n in range(count)}

    # --- submit ---

    async def test_submit_answers_with_the_outcomes_of_the_worker(self, queue: Queue, prefix: str) -> None:
        """Each mutation gets the outcome that it was settled with, in the order of the question, all fields included."""
        outcomes = {
            f"{prefix}{n}": Outcome(verdict, version(n), n % 2 == 0, f"reason {n} é😀")
            for n, verdict in enumerate(verdict for verdict in (*Verdict, *Verdict) if verdict is not Verdict.REJECTED)
        }
        async with self._worker(queue, outcomes):
            submitted = [_mutation(key, n + 1) for n, key in enumerate(outcomes)]
            assert list(await self._soon(queue.submit(submitted))) == list(outcomes.values())

    async def test_submit_answers_each_of_many_callers(self, queue: Queue, prefix: str) -> None:
        """However many wait, and whatever is published between, everyone gets the outcomes of their own mutations."""
        outcomes = {f"{prefix}{n}": Outcome(Verdict.APPLIED, version(n), True) for n in range(300)}
        async with self._worker(queue, outcomes):
            calls = []
            for n in range(0, 300, 3):
                keys = [f"{prefix}{n + i}" for i in range(3)]
                calls.append(queue.submit([_mutation(key, n + 1) for key in keys]))
                await queue.publish("writes", [_mutation(keys[0], 1)])
            answers = await self._soon(asyncio.gather(*calls))
        assert [outcome for answer in answers for outcome in answer] == list(outcomes.values())

    async def test_submit_waits_until_the_delivery_is_settled(self, queue: Queue, prefix: str) -> None:
        """No outcome is answered before the worker has given it."""
        submitted = asyncio.ensure_future(queue.submit([_mutation(prefix, 1)]))
        async with queue.consume("writes", 10) as deliveries:
            delivery = await self._next(deliveries)
            assert not submitted.done()
            await delivery.settle([Outcome(Verdict.CONFLICT, version(9), True)])
            assert list(await self._soon(submitted)) == [Outcome(Verdict.CONFLICT, version(9), True)]

    async def test_submit_is_answered_by_the_worker_who_settles(self, queue: Queue, prefix: str) -> None:
        """When the first worker goes away, the outcome of the next one is the answer."""
        submitted = asyncio.ensure_future(queue.submit([_mutation(prefix, 1)]))
        async with queue.consume("writes", 10) as deliveries:
            await self._next(deliveries)
        assert not submitted.done()
        async with self._worker(queue, {prefix: Outcome(Verdict.APPLIED, version(1), True)}):
            assert list(await self._soon(submitted)) == [Outcome(Verdict.APPLIED, version(1), True)]

    async def test_who_stops_waiting_takes_nothing_back(self, queue: Queue, prefix: str) -> None:
        """A submitted mutation is handled though nobody waits for its outcome any more, and the queue goes on."""
        submitted = asyncio.ensure_future(queue.submit([_mutation(f"{prefix}left", 1)]))
        async with queue.consume("writes", 10) as deliveries:
            delivery = await self._next(deliveries)
            await _forget(submitted)
            await delivery.settle(_applied(delivery))
        assert [message.mutation.key for message in delivery.messages] == [f"{prefix}left"]
        async with self._worker(queue, {f"{prefix}next": Outcome(Verdict.APPLIED, version(2), True)}):
            assert len(await self._soon(queue.submit([_mutation(f"{prefix}next", 2)]))) == 1

    # --- cancellation ---

    async def test_stays_usable_when_publishers_are_cancelled(self, queue: Queue, prefix: str) -> None:
        """A cancelled publish may have happened or not; those that were confirmed arrive, and answers do not cross."""
        await cancel_midway(queue.publish("writes", [_mutation(f"{prefix}perhaps {n}", 1)]) for n in range(50))
        await cancel_midway(queue.submit([_mutation(f"{prefix}perhaps {n}", 1)]) for n in range(50))
        confirmed = [_mutation(f"{prefix}{n}", n + 1) for n in range(50)]
        await asyncio.gather(*(queue.publish("writes", [mutation]) for mutation in confirmed))
        outcomes = {f"{prefix}last": Outcome(Verdict.SUPERSEDED, version(99), True)}
        async with self._worker(queue, outcomes) as seen:
            assert list(await self._soon(queue.submit([_mutation(f"{prefix}last", 98)]))) == list(outcomes.values())

            async def all_seen() -> bool:
                return {mutation.key for mutation in confirmed} <= set(seen)

            await eventually(all_seen, within_s=self.patience_s, what="the arrival of all confirmed messages")

    async def test_a_cancelled_consumer_loses_nothing(self, queue: Queue, prefix: str) -> None:
        """Messages that were on their way to consumers that are cancelled go to the next one."""
        mutations = [_mutation(f"{prefix}{n}", n + 1) for n in range(60)]

        async def consumer() -> None:
            async with queue.consume("writes", 3) as deliveries:
                await self._next(deliveries)
                await asyncio.Event().wait()

        for portion in range(0, 60, 20):
            consumers = [asyncio.create_task(consumer()) for _ in range(4)]
            await queue.publish("writes", mutations[portion : portion + 20])
            for task in consumers:
                await _forget(task)
        received = await self._drain(queue, 60)
        assert {message.mutation.key for message in received} == {mutation.key for mutation in mutations}
        await self._assert_empty(queue)

    # --- numbers ---

    async def test_counts_messages_and_consumers(self, queue: Queue, prefix: str) -> None:
        """The numbers come to tell what waits, what is in hand, and who consumes, by channel."""
        assert isinstance(await queue.stats(), QueueStats)
        for n in range(1, 4):
            await queue.publish("refreshes", [_mutation(f"{prefix}{n}", n)])
        await self._until(queue, "waiting", 3, channel="refreshes")
        async with queue.consume("refreshes", 3) as deliveries:
            delivery = await self._next(deliveries)
            await self._until(queue, "consumers", 1, channel="refreshes")
            await self._until(queue, "unsettled", len(delivery.messages), channel="refreshes", at_least=True)
            await delivery.settle(_applied(delivery))
        await self._until(queue, "consumers", 0, channel="refreshes")
        await self._drain(queue, 3 - len(delivery.messages), channel="refreshes")
        for what in ("waiting", "unsettled"):
            await self._until(queue, what, 0, channel="refreshes")
            await self._until(queue, what, 0)

    # --- dead letters ---

    async def test_keeps_what_was_rejected_if_declared(self, queue: Queue, prefix: str) -> None:
        """With dead letters: what was rejected is there, with its reason, when the one who waits is told; nothing else is."""
        rejected = [mutation for mutation in _odd_mutations(prefix) if len(mutation.key) < 1000][:40]
        outcomes = {
            mutation.key: Outcome(Verdict.REJECTED, reason=f"reason {n}") for n, mutation in enumerate(rejected)
        }
        fine = _mutation(f"{prefix}fine", 1)
        async with self._worker(queue, outcomes):
            assert {outcome.verdict for outcome in await self._soon(queue.submit(rejected))} == {Verdict.REJECTED}
            if (letters := await self._letters(queue)) is not None:
                assert _sorted(letter.mutation for letter in letters) == _sorted(rejected)
                assert {letter.mutation.key: letter.reason for letter in letters} == {
                    key: outcome.reason for key, outcome in outcomes.items()
                }
                assert len({letter.id for letter in letters}) == len(rejected)
            await self._soon(queue.submit([fine]))
            if (letters := await self._letters(queue)) is not None:
                assert fine.key not in {letter.mutation.key for letter in letters}
        await self._assert_empty(queue)

    async def test_lists_dead_letters_oldest_first_if_declared(self, queue: Queue, prefix: str) -> None:
        """With dead letters: a listing begins with the oldest and has at most as many as asked for; they are counted."""
        dead = await self._dead_letters(queue)
        if dead is None:
            return
        await self._reject(queue, *(f"{prefix}{n}" for n in range(5)))

        async def counted() -> bool:
            return (await queue.stats()).dead_letters == 5

        await eventually(counted, within_s=self.patience_s, what="the count of 5 dead letters")
        assert [letter.mutation.key for letter in await dead.dead_letters(3)] == [f"{prefix}{n}" for n in range(3)]
        assert [letter.mutation.key for letter in await dead.dead_letters(99)] == [f"{prefix}{n}" for n in range(5)]

    async def test_replays_dead_letters_if_declared(self, queue: Queue, prefix: str) -> None:
        """With dead letters: those named go back to the channel "writes" and are dead no longer; unknown ids are passed over."""
        dead = await self._dead_letters(queue)
        if dead is None:
            return
        await self._reject(queue, *(f"{prefix}{n}" for n in range(3)))
        letters = await dead.dead_letters(10)
        assert await dead.replay([letters[0].id, letters[2].id, "no-such-letter"]) == 2
        received = await self._drain(queue, 2)
        assert _sorted(message.mutation for message in received) == _sorted([letters[0].mutation, letters[2].mutation])
        assert [letter.id for letter in await dead.dead_letters(10)] == [letters[1].id]
        assert await dead.replay([letters[0].id]) == 0
        assert await dead.replay([]) == 0
        await self._assert_empty(queue)

    async def test_discards_dead_letters_if_declared(self, queue: Queue, prefix: str) -> None:
        """With dead letters: those named are forgotten and come nowhere again; unknown ids are passed over."""
        dead = await self._dead_letters(queue)
        if dead is None:
            return
        await self._reject(queue, *(f"{prefix}{n}" for n in range(3)))
        letters = await dead.dead_letters(10)
        assert await dead.discard([letters[1].id, "no-such-letter", letters[1].id]) == 1
        assert [letter.id for letter in await dead.dead_letters(10)] == [letters[0].id, letters[2].id]
        assert await dead.discard([]) == 0
        await self._assert_empty(queue)

    # --- prefetching ---

    async def test_who_stops_is_given_what_was_sent_ahead_if_declared(self, queue: Queue, prefix: str) -> None:
        """With prefetching: who stops gets all that it has received and then the end; what comes later is new to another."""
        early = [_mutation(f"{prefix}early {n}", n) for n in range(1, 11)]
        late = [_mutation(f"{prefix}late {n}", n) for n in range(11, 21)]
        received: list[Message] = []
        async with queue.consume("writes", 3) as deliveries:
            prefetching = self._prefetching(queue, deliveries)
            if prefetching is None:
                return
            # In one call, which may be sent as a whole: that is more than a delivery has.
            await queue.publish("writes", early)
            delivery: Delivery | None = await self._next(deliveries)
            await self._soon(prefetching.stop())
            await queue.publish("writes", late)
            while delivery is not None:
                received += delivery.messages
                await delivery.settle(_applied(delivery))
                delivery = await self._soon(anext(deliveries, None))
        assert {message.mutation.key for message in received} <= {mutation.key for mutation in early}
        received += await self._drain(queue, len(early) + len(late) - len(received))
        assert _sorted(message.mutation for message in received) == early + late
        assert not any(message.redelivered for message in received)

    # --- abilities ---

    async def test_survives_reopening_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """A durable queue has its confirmed messages after reopening; one in this process alone has forgotten them."""
        async with self.factory.open(settings) as queue:
            await queue.publish("writes", [_mutation(f"{prefix}waiting", 1), _mutation(f"{prefix}in hand", 2)])
            async with queue.consume("writes", 1) as deliveries:
                await self._next(deliveries)
        async with self.factory.open(settings) as queue:
            if Ability.DURABLE in self.factory.abilities:
                received = await self._drain(queue, 2)
                assert {message.mutation.key for message in received} == {f"{prefix}waiting", f"{prefix}in hand"}
            elif Ability.SHARED not in self.factory.abilities:
                await self._assert_empty(queue)

    async def test_shares_messages_between_nodes_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """Nodes that share a queue publish, submit and work for each other; those that do not share see nothing of it."""
        async with self.opened_twice(settings) as (first, second):
            await first.publish("writes", [_mutation(f"{prefix}published", 1)])
            if Ability.SHARED in self.factory.abilities:
                (message,) = await self._drain(second, 1)
                assert message.mutation.key == f"{prefix}published"
                outcome = Outcome(Verdict.APPLIED, version(2), True)
                async with self._worker(second, {f"{prefix}submitted": outcome}):
                    answer = await self._soon(first.submit([_mutation(f"{prefix}submitted", 2)]))
                assert list(answer) == [outcome]
            elif second is not None:
                await self._assert_empty(second)

    async def test_ends_the_waiting_of_everyone_when_it_is_closed(self, settings: msgspec.Struct, prefix: str) -> None:
        """Who waits for an outcome while the queue is closed is told that it is unknown, and does not wait for ever."""
        async with self.factory.open(settings) as queue:
            submitted = asyncio.ensure_future(queue.submit([_mutation(prefix, 1)]))
            await self._until(queue, "waiting", 1)
        with pytest.raises(UnavailableError) as caught:
            await self._soon(submitted)
        assert caught.value.outcome == "unknown"

    # --- steps ---

    async def _soon(self, awaitable: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.patience_s):
                return await awaitable
        except TimeoutError:
            raise AssertionError(f"no answer within {self.patience_s:g} s: it was lost") from None

    async def _next(self, deliveries: AsyncIterator[Delivery]) -> Delivery:
        try:
            # Not `wait_for`, which swallows a cancellation at times (Python 3.11).
            async with asyncio.timeout(self.patience_s):
                return await anext(deliveries)
        except TimeoutError:
            raise AssertionError(f"no delivery within {self.patience_s:g} s: a message was lost") from None

    async def _drain(self, queue: Queue, count: int, *, channel: Channel = "writes") -> list[Message]:
        """Consume and settle until `count` messages have come."""
        received: list[Message] = []
        async with queue.consume(channel, 50) as deliveries:
            while len(received) < count:
                delivery = await self._next(deliveries)
                received += delivery.messages
                await delivery.settle(_applied(delivery))
        assert len(received) == count, "more messages came than were published"
        return received

    async def _assert_empty(self, queue: Queue) -> None:
        """Assert that nothing waits: of all channels only markers come that are published now."""
        for channel in CHANNELS:
            marker = _mutation(f"marker on {channel}", 1)
            await queue.publish(channel, [marker])
            (message,) = await self._drain(queue, 1, channel=channel)
            assert message.mutation == marker, "a message came that should not be there any more"

    async def _until(
        self, queue: Queue, what: str, count: int, *, channel: Channel = "writes", at_least: bool = False
    ) -> None:
        async def counted() -> bool:
            numbers: dict[Channel, int] | None = getattr(await queue.stats(), what)
            if numbers is None:
                return what == "unsettled"  # the only one that need not be known
            return numbers[channel] >= count if at_least else numbers[channel] == count

        await eventually(counted, within_s=self.patience_s, what=f"{what} of {count} on {channel}")

    @asynccontextmanager
    async def _worker(self, queue: Queue, outcomes: dict[str, Outcome]) -> AsyncIterator[list[str]]:
        """Settle all writes with the outcomes given by key (else: applied); yields the list of keys seen."""
        seen: list[str] = []

        async def work() -> None:
            async with queue.consume("writes", 16) as deliveries:
                async for delivery in deliveries:
                    keys = [message.mutation.key for message in delivery.messages]
                    seen.extend(keys)
                    await delivery.settle([outcomes.get(key, Outcome(Verdict.APPLIED)) for key in keys])

        task = asyncio.create_task(work())
        try:
            yield seen
        finally:
            await _forget(task)

    def _prefetching(self, queue: Queue, deliveries: AsyncIterator[Delivery]) -> Prefetching | None:
        """Return the deliveries, to be stopped; None where that is not declared, after asserting that it is refused."""
        if Ability.PREFETCHING in self.factory.abilities:
            return prefetching_of(queue, deliveries)
        with pytest.raises(UnsupportedError):
            prefetching_of(queue, deliveries)
        return None

    async def _dead_letters(self, queue: Queue) -> DeadLetters | None:
        """Return the dead letters; None where they are not declared, after asserting that they are refused."""
        if Ability.DEAD_LETTERS in self.factory.abilities:
            return dead_letters_of(queue)
        with pytest.raises(UnsupportedError):
            dead_letters_of(queue)
        return None

    async def _letters(self, queue: Queue) -> Sequence[DeadLetter] | None:
        dead = await self._dead_letters(queue)
        return None if dead is None else await dead.dead_letters(1000)

    async def _reject(self, queue: Queue, *keys: str) -> None:
        """Bring dead letters about, one after the other."""
        outcome = Outcome(Verdict.REJECTED, reason="for a test")
        async with self._worker(queue, dict.fromkeys(keys, outcome)):
            for n, key in enumerate(keys):
                await self._soon(queue.submit([_mutation(key, n + 1)]))


def _mutation(key: str, number: int) -> Mutation:
    return Mutation(key, Entry(version(number), b"value %d" % number))


def _odd_mutations(prefix: str) -> Iterable[Mutation]:
    for n, key in enumerate(odd_keys(prefix)):
        media_type, expected = MEDIA_TYPES[n % len(MEDIA_TYPES)], (None, ZERO, PRESENT, version(7))[n % 4]
        value = None if n % 11 == 0 else VALUES[n % len(VALUES)]
        request_id = bytes((n + i) % 256 for i in range(32)) if expected is not None else b""
        entry = Entry(version(n + 1), value, media_type, n * 2**40 or None)
        traceparent = f"00-{n + 1:032x}-{n + 1:016x}-01" if n % 3 else ""
        yield Mutation(key, entry, expected, request_id, traceparent, restored=n % 5 == 0)


def _sorted(mutations: Iterable[Mutation]) -> list[Mutation]:
    return sorted(mutations, key=lambda mutation: (mutation.version, mutation.key))


def _applied(delivery: Delivery) -> list[Outcome]:
    return [Outcome(Verdict.APPLIED, message.mutation.version, True) for message in delivery.messages]


async def _forget(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
