"""The conformance suites can fail: each of these backends breaks one promise, and a test notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from kvcore.backends import Ability, Channel, Factory, Install, Listed, Purged, Refresh, Reserve
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
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


class KeepsReplayedLetters(MemoryQueue):
    """Replays dead letters again and again."""

    async def replay(self, ids: Sequence[str]) -> int:
        letters = dict(self._dead)
        count = await super().replay(ids)
        self._dead = letters
        return count


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


class ListsInTheOrderOfUtf16(MemoryStore):
    """Sorts as many languages' strings do."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Sequence[Listed]:
        return sorted(await super().scan(prefix, after, limit), key=lambda line: line.key.encode("utf-16-be"))


class ListsWhatHasEnded(MemoryStore):
    """Has a clock that stands still."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 0)


class ListsFromAfterOn(MemoryStore):
    """Repeats the last key of a page on the next one."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Sequence[Listed]:
        return await super().scan(prefix, None if after is None else after[:-1], limit)


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


class RejectsAWholeCall(MemoryStore):
    """Lets one bad mutation keep its neighbours from being applied."""

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        if any(len(one.entry.value or b"") > self.limits.max_value_bytes for one in mutations):
            return [Outcome(Verdict.REJECTED, reason="one of them is too large")] * len(mutations)
        return await super().apply(mutations)


# --- the proof --------------------------------------------------------------------------------------------------------

BREAKS = [
    ("Cache", InstallsIntoAbsentSlots, "test_does_to_a_slot_what_the_pure_functions_say"),
    ("Cache", InstallsIntoAbsentSlots, "test_agrees_with_the_pure_functions_on_any_history"),
    ("Cache", RefreshLeavesLeases, "test_does_to_a_slot_what_the_pure_functions_say"),
    ("Cache", RefreshLeavesLeases, "test_agrees_with_the_pure_functions_on_any_history"),
    ("Cache", LeasesLiveForEver, "test_forgets_a_lease_after_its_lifetime"),
    ("Cache", ReadersTakeLeasesOver, "test_grants_a_lease_to_one_of_many_readers"),
    ("Cache", FoldsCase, "test_keeps_keys_of_every_kind_apart"),
    ("Cache", SaysThatItIsShared, "test_shares_slots_between_nodes_if_declared"),
    ("Queue", LosesWhatIsNotSettled, "test_what_is_not_settled_is_given_back_on_leaving"),
    ("Queue", AnswersBeforeItIsSettled, "test_submit_waits_until_the_delivery_is_settled"),
    ("Queue", MixesChannels, "test_keeps_the_channels_apart"),
    ("Queue", IgnoresTheLimit, "test_deliveries_keep_the_limit"),
    ("Queue", DropsDuplicates, "test_delivers_a_message_as_often_as_it_was_published"),
    ("Queue", KeepsReplayedLetters, "test_replays_dead_letters_if_declared"),
    ("Queue", SaysThatItIsDurable, "test_survives_reopening_if_declared"),
    ("Store", AppliesUnguarded, "test_decides_as_the_pure_function_does"),
    ("Store", AppliesUnguarded, "test_agrees_with_the_pure_function_on_any_history"),
    ("Store", ListsInTheOrderOfUtf16, "test_keeps_keys_of_every_kind_apart_and_in_order"),
    ("Store", ListsWhatHasEnded, "test_lists_what_exists_with_its_particulars"),
    ("Store", ListsFromAfterOn, "test_lists_all_keys_page_by_page"),
    ("Store", PurgesAllTombstones, "test_purges_what_ended_before_and_nothing_else"),
    ("Store", LosesEmptyValues, "test_returns_any_bytes_as_they_came"),
    ("Store", RejectsAWholeCall, "test_rejects_what_is_too_large_and_applies_the_rest"),
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


class WithoutDeadLetters(MemoryQueue):
    """Keeps nothing that was rejected, and says so."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def _bury(self, mutation: Mutation, reason: str) -> None:
        """Forget it."""
