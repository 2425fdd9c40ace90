"""The suite for caches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar, Final

import msgspec
import pytest

from kvcore.backends import Ability, Cache, CacheStats, Factory, Install, Refresh, Reserve
from kvcore.model import ZERO, Entry
from kvcore.slots import Lease, Reservation, Slot
from kvcore.testing.backend import BackendConformance
from kvcore.testing.cache_model import LONG_MS, Request, below, histories, perform, transition
from kvcore.testing.samples import MEDIA_TYPES, VALUES, odd_keys, version
from kvcore.testing.waiting import cancel_midway, eventually, for_all

__all__ = ("CacheConformance",)

SHORT_MS: Final = 60

SLOTS: Final[dict[str, Slot]] = {
    "absent": None,
    "own-lease": Lease("mine"),
    "lease-of-another": Lease("theirs"),
    "older-entry": Entry(version(3), b"older"),
    "older-tombstone": Entry(version(3)),
    "never-written": Entry(ZERO),
    "same-version": Entry(version(5), b"five"),
    "newer-entry": Entry(version(7), b"newer"),
}

FIVE: Final = Entry(version(5), b"five")
REQUESTS: Final[dict[str, Request]] = {
    "reserve-as-writer": Reserve("", "mine", False, LONG_MS),
    "reserve-as-reader": Reserve("", "mine", True, LONG_MS),
    "install": Install("", FIVE, "mine", LONG_MS),
    "install-a-tombstone": Install("", Entry(version(5)), "mine", LONG_MS),
    "install-never-written": Install("", Entry(ZERO), "mine", LONG_MS),
    "refresh-with-the-entry": Refresh("", version(5), FIVE, LONG_MS),
    "refresh-without-an-entry": Refresh("", version(5), None, LONG_MS),
    "refresh-own-lease": Refresh("", version(5), FIVE, LONG_MS, "mine"),
    "refresh-own-lease-without-an-entry": Refresh("", version(5), None, LONG_MS, "mine"),
}


class CacheConformance(BackendConformance):
    """What every cache does. The place that `settings` lead to has room for some MB, and forgets nothing by itself meanwhile."""

    factory: ClassVar[Factory[Cache]]

    @pytest.fixture
    async def cache(self, settings: msgspec.Struct) -> AsyncIterator[Cache]:
        """Yield the open cache."""
        async with self.factory.open(settings) as cache:
            yield cache

    # --- the transitions ---

    @pytest.mark.parametrize("request_name", REQUESTS)
    @pytest.mark.parametrize("slot_name", SLOTS)
    async def test_does_to_a_slot_what_the_pure_functions_say(
        self, cache: Cache, prefix: str, slot_name: str, request_name: str
    ) -> None:
        """Every operation finds and leaves every kind of slot as `kvcore.slots` has it."""
        before, request = SLOTS[slot_name], below(prefix, REQUESTS[request_name])
        await _bring_about(cache, prefix, before)
        after, answer = transition(before, request)
        assert list(await perform(cache, [request])) == [answer]
        assert await _look(cache, prefix) == after

    async def test_agrees_with_the_pure_functions_on_any_history(self, cache: Cache, prefix: str) -> None:
        """Whatever is done in whatever order, answers and slots are those of a dictionary and `kvcore.slots`."""
        numbers = itertools.count()

        async def check(history: list[list[Request]]) -> None:
            own = f"{prefix}{next(numbers)}/"
            model: dict[str, Slot] = {f"{own}{key}": None for key in "abc"}
            for call in history:
                requests = [below(own, request) for request in call]
                answers = []
                for request in requests:
                    model[request.key], answer = transition(model[request.key], request)
                    answers.append(answer)
                assert list(await perform(cache, requests)) == answers
                assert list(await cache.read(list(model))) == [
                    slot if isinstance(slot, Entry) else None for slot in model.values()
                ]

        await for_all(histories(), check, examples=100)

    # --- the shape of calls ---

    async def test_answers_empty_calls(self, cache: Cache) -> None:
        """A call that asks for nothing answers nothing."""
        assert list(await cache.read([])) == []
        assert list(await cache.reserve([])) == []
        await cache.install([])
        await cache.refresh([])

    async def test_answers_in_the_order_of_the_question(self, cache: Cache, prefix: str) -> None:
        """Answers correspond to what was asked by position, hits and misses mixed and keys repeated."""
        entries = {f"{prefix}{n}": Entry(version(n + 1), b"%d" % n) for n in range(0, 1000, 2)}
        await _fill(cache, entries)
        keys = [f"{prefix}{n}" for n in (*range(999, -1, -1), 4, 4, 5)]
        assert list(await cache.read(keys)) == [entries.get(key) for key in keys]

    async def test_does_what_is_asked_of_a_repeated_key_in_the_order_given(self, cache: Cache, prefix: str) -> None:
        """Within one call too the first to ask for a lease gets it, and the newest entry stays."""
        key = f"{prefix}key"
        asked = [Reserve(key, "first", True, LONG_MS), Reserve(key, "second", True, LONG_MS)]
        assert [answer.granted for answer in await cache.reserve(asked)] == [True, False]
        two, one = Entry(version(2), b"two"), Entry(version(1), b"one")
        await cache.install([Install(key, two, "first", LONG_MS), Install(key, one, "first", LONG_MS)])
        assert list(await cache.read([key, key])) == [two, two]

    # --- what is kept ---

    async def test_keeps_keys_of_every_kind_apart(self, cache: Cache, prefix: str) -> None:
        """Keys are equal only if all their characters are, whatever these mean to the server, up to the longest key."""
        entries = {key: Entry(version(n + 1), b"%d" % n) for n, key in enumerate(odd_keys(prefix))}
        await _fill(cache, entries)
        found = dict(zip(entries, await cache.read(list(entries)), strict=True))
        wrong = {key[:80]: entry for key, entry in found.items() if entry != entries[key]}
        assert wrong == {}

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:12]))
    async def test_returns_any_bytes_as_they_came(self, cache: Cache, prefix: str, value: bytes) -> None:
        """A value is bytes; an empty one is a value, and no tombstone."""
        await _fill(cache, {prefix: Entry(version(1), value)})
        assert list(await cache.read([prefix])) == [Entry(version(1), value)]

    async def test_returns_a_large_value_whole_or_not_at_all(self, cache: Cache, prefix: str) -> None:
        """An entry that is too large may be left out, even in place of an older one; it is never cut, and nothing older stays."""
        large = Entry(version(2), bytes(range(256)) * 8192)
        await _fill(cache, {prefix: Entry(version(1), b"small")})
        await cache.install([Install(prefix, large, "", LONG_MS)])
        assert (await cache.read([prefix]))[0] in (large, None)

    @pytest.mark.parametrize("media_type", MEDIA_TYPES, ids=lambda media_type: media_type[:20])
    async def test_returns_the_media_type(self, cache: Cache, prefix: str, media_type: str) -> None:
        """The media type comes back with the value."""
        entry = Entry(version(1), b"value", media_type)
        await _fill(cache, {prefix: entry})
        assert list(await cache.read([prefix])) == [entry]

    @pytest.mark.parametrize("expires_at_ms", [0, 1, 1_000_000_000_000, 2**48 - 1])
    async def test_returns_the_expiry_and_expired_entries_too(
        self, cache: Cache, prefix: str, expires_at_ms: int
    ) -> None:
        """When a value expires is for the reader to judge: a cache returns the entry all the same."""
        entry = Entry(version(1), b"value", expires_at_ms=expires_at_ms)
        await _fill(cache, {prefix: entry})
        assert list(await cache.read([prefix])) == [entry]

    async def test_a_newer_entry_brings_its_own_expiry(self, cache: Cache, prefix: str) -> None:
        """A refresh or an install replaces the expiry of the entry before, also by none."""
        entries = [
            Entry(version(number), b"value", expires_at_ms=expires_at_ms)
            for number, expires_at_ms in enumerate((None, 2_000_000_000_000, None, 1_999_999_999_999, None), start=1)
        ]
        await _fill(cache, {prefix: entries[0]})
        for number, entry in enumerate(entries[1:]):
            if number < 2:
                await cache.refresh([Refresh(prefix, entry.version, entry, LONG_MS)])
            else:
                await cache.install([Install(prefix, entry, "", LONG_MS)])
            assert list(await cache.read([prefix])) == [entry]

    async def test_compares_versions_in_all_their_digits(self, cache: Cache, prefix: str) -> None:
        """Versions that differ in the last of 96 bits are told apart."""
        low, high = version(2**96 - 2), version(2**96 - 1)
        await _fill(cache, {prefix: Entry(high, b"high")})
        await cache.install([Install(prefix, Entry(low, b"low"), "", LONG_MS)])
        await cache.refresh([Refresh(prefix, low, Entry(low, b"low"), LONG_MS)])
        assert list(await cache.read([prefix])) == [Entry(high, b"high")]

    # --- lifetimes ---

    async def test_forgets_an_entry_after_its_lifetime(self, cache: Cache, prefix: str) -> None:
        """An entry is gone after its lifetime, and nobody can install into what is left."""
        await _fill(cache, {prefix: Entry(version(1), b"value")}, lifetime_ms=SHORT_MS)
        await self._gone(cache, prefix)
        await cache.install([Install(prefix, Entry(version(2), b"late"), "seed", LONG_MS)])
        assert list(await cache.read([prefix])) == [None]

    async def test_forgets_a_lease_after_its_lifetime(self, cache: Cache, prefix: str) -> None:
        """A lease that nobody used makes way for the next reader after its lifetime."""
        await cache.reserve([Reserve(prefix, "lost", False, SHORT_MS)])

        async def granted() -> bool:
            return (await cache.reserve([Reserve(prefix, "next", True, LONG_MS)]))[0].granted

        await eventually(granted, within_s=self.patience_s, what="the end of a lease")
        await cache.install([Install(prefix, Entry(version(1), b"late"), "lost", LONG_MS)])
        assert list(await cache.read([prefix])) == [None]

    @pytest.mark.parametrize("request_name", ["reserve-as-writer", "install", "refresh-without-an-entry"])
    async def test_a_lifetime_is_not_prolonged_where_nothing_changes(
        self, cache: Cache, prefix: str, request_name: str
    ) -> None:
        """An operation that leaves a slot as it was leaves its lifetime too, though a longer one came with it."""
        await _fill(cache, {prefix: FIVE}, lifetime_ms=SHORT_MS)
        await perform(cache, [below(prefix, REQUESTS[request_name])])
        await self._gone(cache, prefix)

    @pytest.mark.parametrize("request_name", ["reserve-as-writer", "install", "refresh-without-an-entry"])
    async def test_a_lifetime_is_not_cut_where_nothing_changes(
        self, cache: Cache, prefix: str, request_name: str
    ) -> None:
        """An operation that leaves a slot as it was leaves its lifetime too, though a shorter one came with it."""
        await _fill(cache, {prefix: FIVE})
        short = msgspec.structs.replace(below(prefix, REQUESTS[request_name]), lifetime_ms=1)
        await perform(cache, [short])
        await self._let_pass(cache, prefix)
        assert list(await cache.read([prefix])) == [FIVE]

    async def test_a_readers_own_lease_keeps_its_lifetime(self, cache: Cache, prefix: str) -> None:
        """A reader who asks again for a lease that it has does not change how long it lives."""
        await cache.reserve([Reserve(prefix, "mine", True, LONG_MS)])
        await cache.reserve([Reserve(prefix, "mine", True, 1)])
        await self._let_pass(cache, prefix)
        assert await _look(cache, prefix) == Lease("mine")

    async def test_a_refresh_of_the_same_version_sets_its_lifetime(self, cache: Cache, prefix: str) -> None:
        """An accepted entry that lived long lives on for the time of a stored one, from when the store has it."""
        await _fill(cache, {prefix: FIVE})
        await cache.refresh([Refresh(prefix, FIVE.version, FIVE, SHORT_MS)])
        await self._gone(cache, prefix)

    async def test_a_new_entry_sets_its_lifetime(self, cache: Cache, prefix: str) -> None:
        """What replaces an entry lives for the time that came with it, and not for what was left of the other's."""
        await _fill(cache, {prefix: FIVE}, lifetime_ms=SHORT_MS)
        await cache.refresh([Refresh(prefix, version(6), Entry(version(6), b"six"), LONG_MS)])
        await self._let_pass(cache, prefix)
        found = list(await cache.read([prefix]))
        # On a machine that stood still for long the first entry may have ended before it was replaced: then there is
        # none.
        assert found != [FIVE]

    # --- many at once ---

    async def test_grants_a_lease_to_one_of_many_readers(self, cache: Cache, prefix: str) -> None:
        """Of any number of readers who ask at once exactly one gets the lease."""
        for round_ in range(5):
            key = f"{prefix}{round_}"
            asked = (cache.reserve([Reserve(key, f"token {n}", True, LONG_MS)]) for n in range(100))
            granted = [answer.granted for (answer,) in await asyncio.gather(*asked)]
            assert granted.count(True) == 1

    async def test_the_newest_of_many_writers_stays(self, cache: Cache, prefix: str) -> None:
        """Of entries that are installed at once, in any order, the one with the highest version stays."""
        await _fill(cache, {prefix: Entry(version(1), b"first")})
        order = [(7 * n) % 101 + 2 for n in range(101)]
        fills = (cache.install([Install(prefix, Entry(version(n), b"%d" % n), "", LONG_MS)]) for n in order)
        await asyncio.gather(*fills)
        assert list(await cache.read([prefix])) == [Entry(version(102), b"102")]

    async def test_overlapping_calls_get_their_own_answers(self, cache: Cache, prefix: str) -> None:
        """However many calls are under way, each answer goes to the one who asked."""
        await asyncio.gather(*(_use(cache, f"{prefix}{n}", n) for n in range(200)))

    async def test_stays_usable_when_calls_are_cancelled(self, cache: Cache, prefix: str) -> None:
        """Whatever was cancelled, at whatever point, the answers after it are those of the questions after it."""
        for round_ in range(5):
            await cancel_midway(_use(cache, f"{prefix}cancelled {round_} {n}", n) for n in range(50))
            await asyncio.gather(*(_use(cache, f"{prefix}{round_} {n}", n) for n in range(50)))

    # --- the rest ---

    async def test_clear_forgets_entries_and_leases(self, cache: Cache, prefix: str) -> None:
        """After a clear every slot is absent, so that nobody can fill by an old lease."""
        await _fill(cache, {f"{prefix}entry": FIVE})
        await cache.reserve([Reserve(f"{prefix}lease", "mine", False, LONG_MS)])
        await cache.clear()
        await cache.install([Install(f"{prefix}{name}", FIVE, "mine", LONG_MS) for name in ("entry", "lease")])
        assert list(await cache.read([f"{prefix}entry", f"{prefix}lease"])) == [None, None]

    async def test_counts_keys_hits_and_misses(self, cache: Cache, prefix: str) -> None:
        """The numbers move with what happens."""
        before = await cache.stats()
        await _fill(cache, {f"{prefix}{n}": FIVE for n in range(5)})
        await cache.read([f"{prefix}{n}" for n in range(9)])
        after = await cache.stats()
        assert isinstance(after, CacheStats)
        assert after.keys_count >= 5
        assert after.memory_used_bytes > 0
        assert after.hits - before.hits >= 5
        assert after.misses - before.misses >= 4
        assert after.evictions >= before.evictions

    # --- abilities ---

    async def test_survives_reopening_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """A durable cache has its entries after reopening; one in this process alone has forgotten them."""
        async with self.factory.open(settings) as cache:
            await _fill(cache, {prefix: FIVE})
        async with self.factory.open(settings) as cache:
            (found,) = await cache.read([prefix])
        if Ability.DURABLE in self.factory.abilities:
            assert found == FIVE
        elif Ability.SHARED not in self.factory.abilities:
            assert found is None
        else:
            assert found in (FIVE, None)

    async def test_shares_slots_between_nodes_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """Nodes that share a cache see and respect each other's slots; those that do not share see none of them."""
        async with self.opened_twice(settings) as (first, second):
            await _fill(first, {f"{prefix}entry": FIVE})
            await first.reserve([Reserve(f"{prefix}lease", "theirs", True, LONG_MS)])
            if Ability.SHARED in self.factory.abilities:
                assert list(await second.read([f"{prefix}entry"])) == [FIVE]
                assert await _look(second, f"{prefix}lease") == Lease("theirs")
            elif second is not None:
                assert list(await second.read([f"{prefix}entry"])) == [None]
                assert await _look(second, f"{prefix}lease") is None

    # --- steps ---

    async def _gone(self, cache: Cache, key: str) -> None:
        async def absent() -> bool:
            return list(await cache.read([key])) == [None]

        await eventually(absent, within_s=self.patience_s, what="the end of a slot's lifetime")

    async def _let_pass(self, cache: Cache, prefix: str) -> None:
        """Wait until a slot made now with a short lifetime has ended."""
        marker = f"{prefix}marker"
        await _fill(cache, {marker: FIVE}, lifetime_ms=SHORT_MS)
        await self._gone(cache, marker)


async def _fill(cache: Cache, entries: Mapping[str, Entry], *, lifetime_ms: int = LONG_MS) -> None:
    """Install entries into absent slots, by leases."""
    await cache.reserve([Reserve(key, "seed", False, LONG_MS) for key in entries])
    await cache.install([Install(key, entry, "seed", lifetime_ms) for key, entry in entries.items()])


async def _bring_about(cache: Cache, key: str, slot: Slot) -> None:
    if isinstance(slot, Lease):
        await cache.reserve([Reserve(key, slot.token, False, LONG_MS)])
    elif slot is not None:
        await _fill(cache, {key: slot})


async def _look(cache: Cache, key: str) -> Slot:
    """Tell what a slot is, by what it does; an absent one becomes a lease on the way."""
    (entry,) = await cache.read([key])
    if entry is not None:
        return entry
    for token, slot in (("nobody's", None), ("mine", Lease("mine")), ("theirs", Lease("theirs"))):
        (answer,) = await cache.reserve([Reserve(key, token, True, LONG_MS)])
        if answer.granted:
            return slot
    raise AssertionError("the slot is neither absent, nor an entry, nor a lease of this test")


async def _use(cache: Cache, key: str, number: int) -> None:
    """Do one of each with a key that nobody else uses, and check every answer."""
    token, entry = f"token {number}", Entry(version(number + 1), b"%d" % number)
    assert list(await cache.reserve([Reserve(key, token, True, LONG_MS)])) == [Reservation(granted=True)]
    await cache.install([Install(key, entry, token, LONG_MS)])
    assert list(await cache.read([key])) == [entry]
    assert list(await cache.reserve([Reserve(key, "another", False, LONG_MS)])) == [Reservation(False, entry.version)]
    await cache.refresh([Refresh(key, version(number + 2), None, LONG_MS)])
    assert list(await cache.read([key])) == [None]
