"""The part of the suite for stores that is about requests that are sent again, for those that declare the ability.

A store without the ability is given no `request_id`, so that nothing is promised of it, and nothing tested.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from hashlib import sha256

import msgspec
import pytest

from kvcore.backends import Ability, Store
from kvcore.clock import version_at
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version, is_final, judge
from kvcore.testing.samples import version
from kvcore.testing.store_model import CONDITIONS, FUTURE_MS, HELD, NOW_MS, PAST_MS, StoreModel, below, histories
from kvcore.testing.store_opening import StoreOpening, purge_all
from kvcore.testing.waiting import for_all

__all__ = ("IdempotencyTests",)


def _request(key: str, number: int, expected: Version, value: bytes | None = b"value") -> Mutation:
    return _stamped(key, version(number), expected, value)


def _stamped(key: str, stamp: Version, expected: Version, value: bytes | None = b"value") -> Mutation:
    """Return one stamp of the request to write a key on a condition."""
    request_id = sha256(f"{expected} {key}".encode()).digest()
    return Mutation(key, Entry(stamp, value), expected, request_id)


def _decided() -> Iterator[tuple[str, str]]:
    """Yield the names of what is held, and of a condition, where these give an answer for good."""
    for (held_name, held), (name, expected) in itertools.product(HELD.items(), CONDITIONS.items()):
        if expected is not None:
            mutation = _request("key", 6, expected)
            if is_final(mutation, judge(mutation, held, NOW_MS)):
                yield held_name, name


class IdempotencyTests(StoreOpening):
    """A request is answered once, and whenever it comes again, with that answer."""

    @pytest.mark.parametrize("value", [b"six", None], ids=["put", "delete"])
    @pytest.mark.parametrize(("held_name", "condition_name"), tuple(_decided()))
    async def test_answers_a_request_as_the_first_time_whatever_has_happened_since(
        self, store: Store, prefix: str, held_name: str, condition_name: str, value: bytes | None
    ) -> None:
        """An answer stands, and nothing is changed again, after the key was written, deleted and left to expire since."""
        if not self.remembers:
            return
        held, expected = HELD[held_name], CONDITIONS[condition_name]
        assert expected is not None
        if held is not None:
            await self.keep(store, {prefix: held})
        mutation = _request(prefix, 6, expected, value)
        first = judge(mutation, held, NOW_MS)
        assert list(await store.apply([mutation])) == [first]
        since = [held, mutation.entry][first.verdict is Verdict.APPLIED]
        for number in range(10, 18, 2):
            for again in (mutation, _request(prefix, number, expected, value)):
                assert list(await store.apply([again])) == [first]
                assert list(await store.get([prefix])) == [since]
            since = _ENDS[number % len(_ENDS)](version(number + 1))
            await self.keep(store, {prefix: since})

    async def test_answers_requests_among_others(self, store: Store, prefix: str) -> None:
        """In a call of requests old and new, and writes that are none, each has its own answer, in the order of the question."""
        if not self.remembers:
            return
        first = [_request(f"{prefix}{n:03}", 5, ZERO) for n in range(0, 300, 3)]
        await store.apply(first)
        second = [_request(f"{prefix}{n:03}", 6, ZERO if n % 3 != 2 else PRESENT) for n in range(300)]
        second[1::3] = [Mutation(one.key, one.entry) for one in second[1::3]]
        random.Random(1).shuffle(second)
        expected = {
            0: Outcome(Verdict.APPLIED, version(5), True),
            1: Outcome(Verdict.APPLIED, version(6), True),
            2: Outcome(Verdict.CONFLICT, ZERO, False),
        }
        answered = zip(second, await store.apply(second), strict=True)
        wrong = {one.key: outcome for one, outcome in answered if outcome != expected[int(one.key[-3:]) % 3]}
        assert wrong == {}

    @pytest.mark.parametrize("expected", [ZERO, PRESENT, version(1)], ids=["create", "present", "update"])
    async def test_applies_one_of_many_overlapping_copies(self, store: Store, prefix: str, expected: Version) -> None:
        """Of one request in any number of calls at once, each stamped anew, exactly one is applied, and all are told of that."""
        if not self.remembers:
            return
        for trial in range(3):
            key = f"{prefix}{trial}"
            if expected != ZERO:
                await self.keep(store, {key: Entry(version(1), b"first")})
            await _one_answer([(store, _request(key, n, expected)) for n in range(2, 42)])

    async def test_one_answer_for_copies_in_overlapping_batches(self, store: Store, prefix: str) -> None:
        """Many requests, repeated in calls that overlap in any order, have one answer each, though other writes come between."""
        if not self.remembers:
            return
        dice, keys = random.Random(1), [f"{prefix}{n:02}" for n in range(30)]
        await self.keep(store, {key: Entry(version(1), b"first") for key in keys})
        numbers = dice.sample(range(2, 1000), 30)
        calls = [[_request(key, n, PRESENT) for key in dice.sample(keys, 20)] for n in numbers[:20]]
        calls += [[Mutation(key, Entry(version(n), b"other")) for key in dice.sample(keys, 20)] for n in numbers[20:]]
        dice.shuffle(calls)
        async with asyncio.timeout(6 * self.patience_s):
            outcomes = await asyncio.gather(*(store.apply(call) for call in calls))
        told: dict[bytes, set[Outcome]] = {}
        for mutation, outcome in zip(itertools.chain(*calls), itertools.chain(*outcomes), strict=True):
            assert outcome.verdict in (Verdict.APPLIED, Verdict.SUPERSEDED)
            if mutation.request_id and outcome.verdict is Verdict.APPLIED:
                told.setdefault(mutation.request_id, set()).add(outcome)
        assert {request_id: len(answers) for request_id, answers in told.items() if len(answers) > 1} == {}

    async def test_has_no_answer_while_the_expected_version_is_on_its_way(self, store: Store, prefix: str) -> None:
        """A condition on a version that the store does not have yet is decided when it has: only that is remembered."""
        if not self.remembers:
            return
        await self.keep(store, {prefix: Entry(version(5), b"five")})
        early = _request(prefix, 10, version(9))
        waits = Outcome(Verdict.CONFLICT, version(5), True)
        assert list(await store.apply([early])) == [waits]
        assert list(await store.apply([early])) == [waits]
        await self.keep(store, {prefix: Entry(version(9), b"nine")})
        assert list(await store.apply([early])) == [Outcome(Verdict.APPLIED, version(10), True)]

    async def test_has_no_answer_for_a_stamp_that_came_too_late(self, store: Store, prefix: str) -> None:
        """A request that is superseded is stamped anew: only what becomes of that is remembered."""
        if not self.remembers:
            return
        await self.keep(store, {prefix: Entry(version(9), b"nine")})
        assert list(await store.apply([_request(prefix, 8, PRESENT)])) == [
            Outcome(Verdict.SUPERSEDED, version(9), True)
        ]
        assert list(await store.apply([_request(prefix, 10, PRESENT)])) == [Outcome(Verdict.APPLIED, version(10), True)]

    async def test_tells_requests_apart_in_all_their_bytes(self, store: Store, prefix: str) -> None:
        """Ids are any 32 bytes, and equal only if all of them are."""
        if not self.remembers:
            return
        stem = sha256(prefix.encode()).digest()[:29]
        ids = [
            stem + tail for tail in (b"\0\0\0", b"\0\0\1", b"\xff\xff\xff", b"\xff\xfe\x00", b"'\\%", b"aA\n", b"AA\n")
        ]
        for number, request_id in enumerate(ids, start=2):
            outcome = Outcome(Verdict.APPLIED, version(number), True)
            mutation = Mutation(prefix, Entry(version(number), b""), ZERO if number == 2 else PRESENT, request_id)
            assert list(await store.apply([mutation])) == [outcome]

    async def test_agrees_with_a_dictionary_of_answers_on_any_history(self, store: Store, prefix: str) -> None:
        """Whatever is applied in whatever order, requests among it, outcomes and entries are those of the model."""
        if not self.remembers:
            return
        numbers = itertools.count()

        async def check(history: list[list[Mutation]]) -> None:
            own, model = f"{prefix}{next(numbers)}/", StoreModel()
            for call in history:
                mutations = [below(own, mutation) for mutation in call]
                assert list(await store.apply(mutations)) == model.apply(mutations)
            assert list(await store.get(list(model.entries))) == list(model.entries.values())

        await for_all(histories(requests=True), check, examples=100)

    async def test_a_purge_forgets_answers_by_age(self, store: Store, prefix: str) -> None:
        """Answers to mutations older than the bound are forgotten, and counted; younger ones stay."""
        if not self.remembers:
            return
        bound, early, late = version_at(PAST_MS), version_at(PAST_MS - 1), version_at(PAST_MS + 1)
        await purge_all(store, bound)
        stamps = {"early": early, "at the bound": bound, "late": late}
        first = [_stamped(f"{prefix}{name}", stamp, ZERO) for name, stamp in stamps.items()]
        first.append(_stamped(f"{prefix}conflict", early, PRESENT))
        answers = list(await store.apply(first))
        assert [answer.verdict for answer in answers] == [Verdict.APPLIED] * 3 + [Verdict.CONFLICT]
        assert (await store.purge(bound, 100)).removed == 2
        newest = version_at(PAST_MS + 2)
        again = [_stamped(one.key, newest, one.expected or ZERO) for one in first]
        assert list(await store.apply(again)) == [
            Outcome(Verdict.CONFLICT, early, True),
            *answers[1:3],
            Outcome(Verdict.CONFLICT, ZERO, False),
        ]

    async def test_a_purge_forgets_answers_up_to_a_limit(self, store: Store, prefix: str) -> None:
        """Each call removes at most as many tombstones and answers together as asked for, and says how many."""
        if not self.remembers:
            return
        bound, early = version_at(PAST_MS), version_at(PAST_MS - 1)
        await purge_all(store, bound)
        await store.apply([_stamped(f"{prefix}{n}", early, ZERO) for n in range(4)])
        await self.keep(store, {f"{prefix}tombstone": Entry(early)})
        calls = [await store.purge(bound, 2) for _ in range(4)]
        assert [call.removed for call in calls] == [2, 2, 1, 0]
        assert calls[0].more
        assert not calls[3].more

    async def test_answers_survive_reopening_if_durable(self, settings: msgspec.Struct, prefix: str) -> None:
        """A durable store answers a request as before it was closed; one in this process alone has forgotten it."""
        if not self.remembers:
            return
        first, again = (
            [_request(f"{prefix}created", n, ZERO), _request(f"{prefix}missing", n, PRESENT)] for n in (5, 9)
        )
        async with self.factory.open(settings) as store:
            answers = list(await store.apply(first))
        async with self.factory.open(settings) as store:
            found = list(await store.apply(again))
        if Ability.DURABLE in self.factory.abilities:
            assert found == answers
        elif Ability.SHARED not in self.factory.abilities:
            assert [outcome.version for outcome in found] == [version(9), ZERO]

    async def test_nodes_share_answers_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """Nodes that share a store give a request one answer, whichever of them it comes to, also at the same moment."""
        if not self.remembers or Ability.SHARED not in self.factory.abilities:
            return
        async with self.opened_twice(settings) as stores:
            for expected in (ZERO, PRESENT, version(1)):
                key = f"{prefix}{expected}"
                if expected != ZERO:
                    await self.keep(stores[0], {key: Entry(version(1), b"first")})
                await _one_answer([(stores[n % 2], _request(key, n, expected)) for n in range(2, 42)])

    @property
    def remembers(self) -> bool:
        """Whether the ability is declared."""
        return Ability.IDEMPOTENCY in self.factory.abilities


_ENDS = (
    lambda stamp: Entry(stamp, b"since", expires_at_ms=FUTURE_MS),
    lambda stamp: Entry(stamp),
    lambda stamp: Entry(stamp, b"since", expires_at_ms=PAST_MS),
)
"""What a key may come to hold."""


async def _one_answer(copies: list[tuple[Store, Mutation]]) -> None:
    """Apply copies of one request at once, and assert that one of them is applied, and all are told so, now and again."""
    outcomes = [outcome for (outcome,) in await asyncio.gather(*(store.apply([copy]) for store, copy in copies))]
    answers = {outcome for outcome in outcomes if outcome.verdict is not Verdict.SUPERSEDED}
    assert len(answers) == 1, f"one request has several answers: {answers}"
    (answer,) = answers
    assert answer.verdict is Verdict.APPLIED
    (applied,) = [copy for _, copy in copies if copy.version == answer.version]
    for store, copy in copies:
        assert list(await store.apply([copy])) == [answer]
        assert list(await store.get([copy.key])) == [applied.entry]
