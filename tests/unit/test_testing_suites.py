"""The conformance suites can fail: each of these backends breaks one promise, and a test notices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from kvcore.backends import Ability, Channel, Delivery, Factory, Install, PoolStats, Purged, Refresh, Reserve, Scanned
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version, is_final
from kvcore.slots import Reservation
from kvcore_cache_memory import FACTORY as CACHE
from kvcore_cache_memory import MemoryCache
from kvcore_queue_memory import FACTORY as QUEUE
from kvcore_queue_memory import MemoryQueue
from kvcore_queue_memory.line import Consumer
from kvcore_store_memory import FACTORY as STORE
from kvcore_store_memory import MemoryStore

pytest_plugins = ("pytester",)


# --- caches -----------------------------------------------------------------------------------------------------------


class InstallsIntoAbsentSlots(MemoryCache):
    """Fills without a lease: the classic stale cache."""

    async def install(self, installs: Sequence[Install]) -> None:
        await self.reserve([Reserve(one.key, one.token, True, one.lifetime_ms) for one in installs])
        await super().install(installs)


class RefreshLeavesLeases(MemoryCache):
    """Lets a reader fill with what it read before the store changed."""

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        entries = await self.read([one.key for one in refreshes])
        await super().refresh([one for one, entry in zip(refreshes, entries, strict=True) if entry is not None])


class LeasesLiveForEver(MemoryCache):
    """Lets one lost reader keep everyone else from filling."""

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        return await super().reserve([Reserve(one.key, one.token, one.reader, 1_000_000) for one in asked])


class ReadersTakeLeasesOver(MemoryCache):
    """Grants the lease to every reader."""

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        return await super().reserve([Reserve(one.key, one.token, False, one.lifetime_ms) for one in asked])


class FoldsCase(MemoryCache):
    """Takes keys that differ in case for one."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        return await super().read([key.lower() for key in keys])

    async def install(self, installs: Sequence[Install]) -> None:
        await super().install([Install(one.key.lower(), one.entry, one.token, one.lifetime_ms) for one in installs])

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        return await super().reserve(
            [Reserve(one.key.lower(), one.token, one.reader, one.lifetime_ms) for one in asked]
        )


class SaysThatItIsShared(MemoryCache):
    """Declares what it cannot do."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.SHARED})


class KeepsExpiries(MemoryCache):
    """Forgets that a newer entry may have no expiry."""

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        held = await self.read([one.key for one in refreshes])
        await super().refresh(
            [
                replace(one, entry=one.entry and replace(one.entry, expires_at_ms=_either(one.entry, before)))
                for one, before in zip(refreshes, held, strict=True)
            ]
        )


def _either(entry: Entry, before: Entry | None) -> int | None:
    return before.expires_at_ms if before is not None and entry.expires_at_ms is None else entry.expires_at_ms


# --- queues -----------------------------------------------------------------------------------------------------------


class LosesWhatIsNotSettled(MemoryQueue):
    """Forgets messages whose consumer goes away."""

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[Any]:
        async with super().consume(channel, limit) as consumer:
            yield consumer
            if isinstance(consumer, Consumer):
                consumer.in_hand.clear()


class AnswersBeforeItIsSettled(MemoryQueue):
    """Says that a write is stored when it is only accepted."""

    async def submit(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        await self.publish("writes", mutations)
        return [Outcome(Verdict.APPLIED, mutation.version, True) for mutation in mutations]


class MixesChannels(MemoryQueue):
    """Has one channel for everything."""

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        await super().publish("writes", mutations)


class IgnoresTheLimit(MemoryQueue):
    """Gives a consumer more than it asked for."""

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[Any]:
        async with super().consume(channel, 1000) as consumer:
            yield consumer


class DropsDuplicates(MemoryQueue):
    """Takes several writes of one key for one."""

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        await super().publish(channel, list({mutation.key: mutation for mutation in mutations}.values()))


class DropsRequestIds(MemoryQueue):
    """Passes on what it knew of before there were more fields."""

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        await super().publish(channel, [replace(mutation, request_id=b"") for mutation in mutations])


class KeepsReplayedLetters(MemoryQueue):
    """Replays dead letters again and again."""

    async def replay(self, ids: Sequence[str]) -> int:
        letters = dict(self._dead)
        count = await super().replay(ids)
        self._dead = letters
        return count


class GivesBackWhatWasSentAhead(MemoryQueue):
    """Ends a consumer that stops before it has had all that was sent to it."""

    abilities: ClassVar[frozenset[Ability]] = MemoryQueue.abilities | {Ability.PREFETCHING}

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[Any]:
        async with super().consume(channel, limit) as consumer:
            yield _Abrupt(consumer)


class _Abrupt:
    def __init__(self, deliveries: AsyncIterator[Delivery]) -> None:
        self._deliveries = deliveries
        self._is_stopped = False

    def __aiter__(self) -> _Abrupt:
        return self

    async def __anext__(self) -> Delivery:
        if self._is_stopped:
            raise StopAsyncIteration
        return await anext(self._deliveries)

    async def stop(self) -> None:
        await anext(self._deliveries)
        self._is_stopped = True


class TakesOnWhenItIsStopped(MemoryQueue):
    """Gives a consumer that stops what should come to others."""

    abilities: ClassVar[frozenset[Ability]] = MemoryQueue.abilities | {Ability.PREFETCHING}

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[Any]:
        async with super().consume(channel, limit) as consumer:
            yield _Unstoppable(consumer)


class _Unstoppable(_Abrupt):
    async def stop(self) -> None:
        pass


class SaysThatItIsDurable(MemoryQueue):
    """Declares what it cannot do."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.DEAD_LETTERS, Ability.DURABLE})


# --- stores -----------------------------------------------------------------------------------------------------------


class AppliesUnguarded(MemoryStore):
    """Puts whatever comes over whatever is held."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        for mutation in mutations:
            self._entries.pop(mutation.key, None)
        return await super().apply(mutations)


class RejectsAWholeCall(MemoryStore):
    """Lets one bad mutation keep its neighbours from being applied."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        if any(len(one.entry.value or b"") > self.limits.max_value_bytes for one in mutations):
            return [Outcome(Verdict.REJECTED, reason="one of them is too large")] * len(mutations)
        return await super().apply(mutations)


class PurgesAllTombstones(MemoryStore):
    """Forgets deletes that late messages may still contradict."""

    async def purge(self, before: Version, limit: int) -> Purged:
        return await super().purge(Version("f" * 24), limit)


class LosesEmptyValues(MemoryStore):
    """Takes an empty value for none, and forgets expiries."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        return await super().apply(
            [
                Mutation(one.key, Entry(one.version, one.entry.value or None, one.entry.media_type), one.expected)
                for one in mutations
            ]
        )


class KeepsOldExpiries(MemoryStore):
    """Leaves an expiry where a write sets none."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        held = await self.get([one.key for one in mutations])
        return await super().apply(
            [
                replace(one, entry=replace(one.entry, expires_at_ms=_either(one.entry, before)))
                for one, before in zip(mutations, held, strict=True)
            ]
        )


class HasAClockThatStandsStill(MemoryStore):
    """Takes what has expired for what is there."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 0)


class SaysThatItKeepsAndShares(MemoryStore):
    """Declares what it cannot do."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(Ability) - {
        Ability.DEAD_LETTERS,
        Ability.POOL,
        Ability.PREFETCHING,
    }


class LosesCountOfItsConnections(MemoryStore):
    """Has more connections in use than are open."""

    abilities: ClassVar[frozenset[Ability]] = MemoryStore.abilities | {Ability.POOL}

    def pool(self) -> PoolStats:
        """Return wrong numbers."""
        return PoolStats(open=1, in_use=2, limit=8, retries=0)


# --- stores that list -------------------------------------------------------------------------------------------------


class ListsInTheOrderOfUtf16(MemoryStore):
    """Sorts as many languages' strings do."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        found = await super().scan(prefix, after, limit)
        return replace(found, listed=sorted(found.listed, key=lambda line: line.key.encode("utf-16-be")))


class ListsFromAfterOn(MemoryStore):
    """Repeats the last key of a page on the next one."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        return await super().scan(prefix, None if after is None else after[:-1], limit)


class EndsAtAnEmptyPage(MemoryStore):
    """Takes a page without keys for the last one."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        found = await super().scan(prefix, after, limit)
        return found if found.listed else Scanned([], None)


class GoesOnAfterTheLastKeyThatExists(MemoryStore):
    """Stays where it is as long as it finds nothing but deleted keys."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        found = await super().scan(prefix, after, limit)
        return found if found.after is None else replace(found, after=found.listed[-1].key if found.listed else after)


class ListsByPosition(MemoryStore):
    """Goes on at a number of keys from the start, as OFFSET does."""

    _place = 0

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        lines = (await super().scan(prefix, None, 1_000_000)).listed
        start = 0 if after is None else self._place
        self._place = start + limit
        page = lines[start : self._place]
        return Scanned(page, page[-1].key if len(lines) > self._place else None)


class TakesAPrefixForAPattern(MemoryStore):
    """Asks with LIKE, for which an underscore is any character."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        lines = (await super().scan("", after, 1_000_000)).listed
        pattern = re.compile(re.escape(prefix).replace("_", "."), re.DOTALL)
        return Scanned([line for line in lines if pattern.match(line.key)][:limit], None)


class LosesItsPlaceWithTheKey(MemoryStore):
    """Finds nothing after a key that is not there any more."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        gone = after is not None and after not in self._entries
        return Scanned([], None) if gone else await super().scan(prefix, after, limit)


class HasSmallPages(MemoryStore):
    """Makes many calls of what should be one."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        return await super().scan(prefix, after, min(limit, 100))


# --- stores that remember ---------------------------------------------------------------------------------------------


class RemembersNothing(MemoryStore):
    """Takes a request that comes again for another one."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        return await super().apply([replace(mutation, request_id=b"") for mutation in mutations])


class RemembersWhatItApplied(MemoryStore):
    """Decides anew on what was in conflict."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        outcomes = await super().apply(mutations)
        for mutation, outcome in zip(mutations, outcomes, strict=True):
            if outcome.verdict is Verdict.CONFLICT:
                self._answers.pop(mutation.request_id, None)
        return outcomes


class RemembersWhatIsNotDecided(MemoryStore):
    """Says for ever what was so for a moment."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        outcomes = await super().apply(mutations)
        for mutation, outcome in zip(mutations, outcomes, strict=True):
            if mutation.request_id:
                self._answers[mutation.request_id] = (0, outcome)
        return outcomes


class RemembersAfterwards(MemoryStore):
    """Looks for an answer, applies, and remembers, one after the other."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        known = dict(self._answers)
        await asyncio.sleep(0)
        new = [replace(mutation, request_id=b"") for mutation in mutations if mutation.request_id not in known]
        applied = dict(zip((one.key for one in new), await super().apply(new), strict=True))
        for mutation in mutations:
            if mutation.request_id and mutation.key in applied and is_final(mutation, applied[mutation.key]):
                self._answers[mutation.request_id] = (0, applied[mutation.key])
        return [applied[one.key] if one.key in applied else known[one.request_id][1] for one in mutations]


class ShortensRequestIds(MemoryStore):
    """Takes requests for one whose ids differ in the end."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        return await super().apply([replace(mutation, request_id=mutation.request_id[:31]) for mutation in mutations])


class NeverForgetsAnswers(MemoryStore):
    """Grows for ever."""

    async def purge(self, before: Version, limit: int) -> Purged:
        answers = dict(self._answers)
        purged = await super().purge(before, limit)
        self._answers = answers
        return purged


class ForgetsAllAnswers(MemoryStore):
    """Purges answers that may still be asked for."""

    async def purge(self, before: Version, limit: int) -> Purged:
        self._answers.clear()
        return await super().purge(before, limit)


# --- the proof --------------------------------------------------------------------------------------------------------

BREAKS = [
    ("Cache", InstallsIntoAbsentSlots, "test_does_to_a_slot_what_the_pure_functions_say"),
    ("Cache", InstallsIntoAbsentSlots, "test_agrees_with_the_pure_functions_on_any_history"),
    ("Cache", RefreshLeavesLeases, "test_does_to_a_slot_what_the_pure_functions_say"),
    ("Cache", RefreshLeavesLeases, "test_agrees_with_the_pure_functions_on_any_history"),
    ("Cache", LeasesLiveForEver, "test_forgets_a_lease_after_its_lifetime"),
    ("Cache", ReadersTakeLeasesOver, "test_grants_a_lease_to_one_of_many_readers"),
    ("Cache", FoldsCase, "test_keeps_keys_of_every_kind_apart"),
    ("Cache", KeepsExpiries, "test_a_newer_entry_brings_its_own_expiry"),
    ("Cache", SaysThatItIsShared, "test_shares_slots_between_nodes_if_declared"),
    ("Queue", LosesWhatIsNotSettled, "test_what_is_not_settled_is_given_back_on_leaving"),
    ("Queue", AnswersBeforeItIsSettled, "test_submit_waits_until_the_delivery_is_settled"),
    ("Queue", MixesChannels, "test_keeps_the_channels_apart"),
    ("Queue", IgnoresTheLimit, "test_deliveries_keep_the_limit"),
    ("Queue", DropsDuplicates, "test_delivers_a_message_as_often_as_it_was_published"),
    ("Queue", DropsRequestIds, "test_delivers_mutations_as_they_were_published"),
    ("Queue", KeepsReplayedLetters, "test_replays_dead_letters_if_declared"),
    ("Queue", GivesBackWhatWasSentAhead, "test_who_stops_is_given_what_was_sent_ahead_if_declared"),
    ("Queue", TakesOnWhenItIsStopped, "test_who_stops_is_given_what_was_sent_ahead_if_declared"),
    ("Queue", SaysThatItIsDurable, "test_survives_reopening_if_declared"),
    ("Store", AppliesUnguarded, "test_decides_as_the_pure_function_does"),
    ("Store", AppliesUnguarded, "test_agrees_with_the_pure_function_on_any_history"),
    ("Store", PurgesAllTombstones, "test_purges_what_ended_before_and_nothing_else"),
    ("Store", LosesEmptyValues, "test_returns_any_bytes_as_they_came"),
    ("Store", RejectsAWholeCall, "test_rejects_what_is_too_large_and_applies_the_rest"),
    ("Store", KeepsOldExpiries, "test_a_write_replaces_the_expiry_of_the_one_before"),
    ("Store", KeepsOldExpiries, "test_an_expired_key_that_is_written_again_lives_on"),
    ("Store", HasAClockThatStandsStill, "test_conditions_see_an_entry_until_it_expires"),
    ("Store", HasAClockThatStandsStill, "test_lists_an_entry_until_it_expires"),
    ("Store", HasAClockThatStandsStill, "test_lists_what_exists_with_its_particulars"),
    ("Store", SaysThatItKeepsAndShares, "test_survives_reopening_if_declared"),
    ("Store", SaysThatItKeepsAndShares, "test_expiries_survive_reopening_if_durable"),
    ("Store", SaysThatItKeepsAndShares, "test_answers_survive_reopening_if_durable"),
    ("Store", SaysThatItKeepsAndShares, "test_nodes_share_answers_if_declared"),
    ("Store", LosesCountOfItsConnections, "test_tells_of_its_connections_if_declared"),
    ("Store", ListsInTheOrderOfUtf16, "test_lists_keys_of_every_kind_in_order"),
    ("Store", ListsInTheOrderOfUtf16, "test_lists_as_a_dictionary_would_after_any_history"),
    ("Store", ListsFromAfterOn, "test_lists_a_thousand_keys_in_one_call"),
    ("Store", ListsFromAfterOn, "test_begins_after_any_text"),
    ("Store", EndsAtAnEmptyPage, "test_passes_over_many_deleted_keys"),
    ("Store", GoesOnAfterTheLastKeyThatExists, "test_passes_over_many_deleted_keys"),
    ("Store", ListsByPosition, "test_sees_once_what_is_there_throughout"),
    ("Store", TakesAPrefixForAPattern, "test_a_prefix_means_its_characters_and_nothing_else"),
    ("Store", LosesItsPlaceWithTheKey, "test_goes_on_after_a_key_that_is_gone"),
    ("Store", HasSmallPages, "test_lists_a_thousand_keys_in_one_call"),
    ("Store", RemembersNothing, "test_answers_a_request_as_the_first_time_whatever_has_happened_since"),
    ("Store", RemembersNothing, "test_answers_requests_among_others"),
    ("Store", RemembersNothing, "test_agrees_with_a_dictionary_of_answers_on_any_history"),
    ("Store", RemembersWhatItApplied, "test_answers_a_request_as_the_first_time_whatever_has_happened_since"),
    ("Store", RemembersWhatIsNotDecided, "test_has_no_answer_while_the_expected_version_is_on_its_way"),
    ("Store", RemembersWhatIsNotDecided, "test_has_no_answer_for_a_stamp_that_came_too_late"),
    ("Store", RemembersAfterwards, "test_applies_one_of_many_overlapping_copies"),
    ("Store", RemembersAfterwards, "test_one_answer_for_copies_in_overlapping_batches"),
    ("Store", ShortensRequestIds, "test_tells_requests_apart_in_all_their_bytes"),
    ("Store", NeverForgetsAnswers, "test_a_purge_forgets_answers_by_age"),
    ("Store", ForgetsAllAnswers, "test_a_purge_forgets_answers_by_age"),
    ("Store", ForgetsAllAnswers, "test_a_purge_forgets_answers_up_to_a_limit"),
]

SUITE = """
import sys

import pytest
from kvcore.testing import {kind}Conformance

class TestBroken({kind}Conformance):
    factory = sys.modules[{module!r}].factory_of({name!r})
    patience_s = 0.3
"""


def factory_of(name: str) -> Factory[Any]:
    """Return the factory of one of the classes above."""
    broken = globals()[name]
    make: Callable[[Any], Any] = (lambda settings: broken()) if issubclass(broken, MemoryStore) else broken
    factories: dict[type[Any], Factory[Any]] = {MemoryCache: CACHE, MemoryQueue: QUEUE, MemoryStore: STORE}
    settings_type = factories[broken.__mro__[1]].settings

    @asynccontextmanager
    async def opened(settings: Any) -> AsyncIterator[Any]:
        backend = make(settings)
        yield backend
        if isinstance(backend, MemoryQueue):
            backend.close()

    return Factory(name=name, backend=broken, settings=settings_type, open=opened)


@pytest.mark.parametrize(("kind", "broken", "test_name"), BREAKS, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_backend_fails_its_suite(
    pytester: pytest.Pytester, kind: str, broken: type[Any], test_name: str
) -> None:
    """The test that is about a promise fails for a backend that breaks it."""
    pytester.makepyfile(SUITE.format(kind=kind, module=__name__, name=broken.__name__))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", test_name)
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) >= 1, f"{broken.__name__} passed {test_name}"
    assert "errors" not in outcomes
    assert any("assert" in line.lower() for line in result.outlines), "the failure does not say what was expected"


def test_a_backend_that_keeps_its_promises_passes_without_configuration(pytester: pytest.Pytester) -> None:
    """The suites need nothing of this repository's pytest configuration: an author's project has only the package."""
    pytester.makepyfile(
        """
        from kvcore.testing import QueueConformance
        from kvcore_queue_memory import FACTORY

        class TestSound(QueueConformance):
            factory = FACTORY
        """
    )
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error").parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] > 30


def test_dead_letters_that_are_not_declared_are_asserted_to_be_refused(pytester: pytest.Pytester) -> None:
    """A queue without dead letters passes the suite because asking for them raises `UnsupportedError`."""
    pytester.makepyfile(SUITE.format(kind="Queue", module=__name__, name="WithoutDeadLetters"))
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()
    assert set(outcomes) == {"passed"}


def test_what_a_store_does_not_declare_is_asserted_to_be_refused(pytester: pytest.Pytester) -> None:
    """A store that can neither list nor remember passes the suite, because asking for a listing raises `UnsupportedError`."""
    pytester.makepyfile(SUITE.format(kind="Store", module=__name__, name="WithoutListing"))
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()
    assert set(outcomes) == {"passed"}


class WithoutListing(MemoryStore):
    """Cannot list its keys, nor remember requests, and says so."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        """Be of no use."""
        raise AssertionError("nobody may ask for this")

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Take no requests."""
        assert not any(mutation.request_id for mutation in mutations)
        return await super().apply(mutations)


class WithoutDeadLetters(MemoryQueue):
    """Keeps nothing that was rejected, and says so."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def _bury(self, mutation: Mutation, reason: str) -> None:
        """Forget it."""
