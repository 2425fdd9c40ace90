"""The suite for stores: what all of them do. What only some can is in `store_listing` and `store_idempotency`."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Final

import msgspec
import pytest

from kvcore.backends import MAX_KEY_BYTES, Ability, Store, StoreStats
from kvcore.clock import HybridClock, version_at
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version, judge
from kvcore.testing.samples import MEDIA_TYPES, VALUES, key_of_bytes, odd_keys, version
from kvcore.testing.store_expiry import ExpiryTests
from kvcore.testing.store_idempotency import IdempotencyTests
from kvcore.testing.store_listing import ListingTests
from kvcore.testing.store_model import CONDITIONS, FUTURE_MS, HELD, NOW_MS, PAST_MS, StoreModel, below, histories
from kvcore.testing.store_opening import purge_all
from kvcore.testing.waiting import cancel_midway, for_all

__all__ = ("StoreConformance",)

LARGE_BYTES: Final = 16 << 20

WRITES: Final[dict[str, Entry]] = {
    "newer-value": Entry(version(6), b"six"),
    "newer-tombstone": Entry(version(6)),
    "newer-expired": Entry(version(6), b"six", expires_at_ms=PAST_MS),
    "same-version": Entry(version(5), b"five"),
    "older-value": Entry(version(3), b"three"),
}


class StoreConformance(ExpiryTests, ListingTests, IdempotencyTests):
    """What every store does. The place that `settings` lead to may hold other keys; the suite purges what ended before 2001."""

    # --- the guarded apply ---

    @pytest.mark.parametrize("write_name", WRITES)
    @pytest.mark.parametrize("condition_name", CONDITIONS)
    @pytest.mark.parametrize("held_name", HELD)
    async def test_decides_as_the_pure_function_does(
        self, store: Store, prefix: str, held_name: str, condition_name: str, write_name: str
    ) -> None:
        """Every write under every condition on whatever is held has the outcome, and leaves the entry, of `judge`."""
        held = HELD[held_name]
        # A version has one content: a write of the version that is held is the same write again.
        entry = held if held is not None and write_name == "same-version" else WRITES[write_name]
        if held is not None:
            await store.apply([Mutation(prefix, held)])
        mutation = Mutation(prefix, entry, CONDITIONS[condition_name])
        outcome = judge(mutation, held, NOW_MS)
        assert list(await store.apply([mutation])) == [outcome]
        after = mutation.entry if outcome.verdict is Verdict.APPLIED else held
        assert list(await store.get([prefix])) == [after]

    async def test_agrees_with_the_pure_function_on_any_history(self, store: Store, prefix: str) -> None:
        """Whatever is applied in whatever order, outcomes and entries are those of a dictionary and `judge`."""
        numbers = itertools.count()

        async def check(history: list[list[Mutation]]) -> None:
            own, model = f"{prefix}{next(numbers)}/", StoreModel()
            for call in history:
                mutations = [below(own, mutation) for mutation in call]
                assert list(await store.apply(mutations)) == model.apply(mutations)
            assert list(await store.get(list(model.entries))) == list(model.entries.values())

        await for_all(histories(), check, examples=100)

    async def test_applying_again_changes_nothing(self, store: Store, prefix: str) -> None:
        """A redelivered batch has the outcomes that it had, conditional mutations included."""
        mutations = [
            Mutation(f"{prefix}{n}", Entry(version(9), b"value"), expected) for n, expected in enumerate((None, ZERO))
        ]
        first = list(await store.apply(mutations))
        assert list(await store.apply(mutations)) == first
        assert [outcome.verdict for outcome in first] == [Verdict.APPLIED] * 2
        assert list(await store.get([mutation.key for mutation in mutations])) == [m.entry for m in mutations]

    async def test_compares_versions_in_all_their_digits(self, store: Store, prefix: str) -> None:
        """Versions that differ in the last of 96 bits are told apart."""
        high, low = Entry(version(2**96 - 1), b"high"), Entry(version(2**96 - 2), b"low")
        await store.apply([Mutation(prefix, high)])
        assert list(await store.apply([Mutation(prefix, low)])) == [Outcome(Verdict.SUPERSEDED, high.version, True)]
        assert list(await store.get([prefix])) == [high]

    async def test_rejects_what_is_too_large_and_applies_the_rest(self, store: Store, prefix: str) -> None:
        """A key or value above the limit is rejected with a reason, alone."""
        limits, fine = store.limits, Entry(version(1), b"fine")
        outcomes = await store.apply(
            [
                Mutation(f"{prefix}before", fine),
                Mutation(key_of_bytes(prefix, limits.max_key_bytes + 1), fine),
                Mutation(f"{prefix}large", Entry(version(1), bytes(limits.max_value_bytes + 1))),
                Mutation(f"{prefix}after", fine),
            ]
        )
        applied, rejected = Verdict.APPLIED, Verdict.REJECTED
        assert [outcome.verdict for outcome in outcomes] == [applied, rejected, rejected, applied]
        assert [bool(outcome.reason) for outcome in outcomes] == [False, True, True, False]
        assert [outcome.version for outcome in outcomes] == [fine.version, ZERO, ZERO, fine.version]
        keys = [f"{prefix}{name}" for name in ("before", "large", "after")]
        assert list(await store.get(keys)) == [fine, None, fine]

    # --- the shape of calls ---

    async def test_answers_empty_calls(self, store: Store) -> None:
        """A call that asks for nothing answers nothing."""
        assert list(await store.get([])) == []
        assert list(await store.apply([])) == []

    async def test_answers_in_the_order_of_the_question(self, store: Store, prefix: str) -> None:
        """Answers correspond to what was asked by position, missing keys mixed in and keys repeated."""
        entries = {f"{prefix}{n}": Entry(version(n + 1), b"%d" % n) for n in range(0, 2000, 2)}
        outcomes = await store.apply([Mutation(key, entry) for key, entry in reversed(entries.items())])
        assert [outcome.version for outcome in outcomes] == [entry.version for entry in reversed(entries.values())]
        keys = [f"{prefix}{n}" for n in (*range(1999, -1, -1), 4, 4, 5)]
        assert list(await store.get(keys)) == [entries.get(key) for key in keys]

    # --- what is kept ---

    async def test_keeps_keys_of_every_kind_apart(self, store: Store, prefix: str) -> None:
        """Keys are equal only if all their bytes are, up to the longest."""
        keys = odd_keys(prefix, min(store.limits.max_key_bytes, MAX_KEY_BYTES))
        entries = {key: Entry(version(n + 1), b"%d" % n) for n, key in enumerate(keys)}
        await self.keep(store, entries)
        found = dict(zip(keys, await store.get(keys), strict=True))
        assert {key[:80]: entry for key, entry in found.items() if entry != entries[key]} == {}

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:12]))
    async def test_returns_any_bytes_as_they_came(self, store: Store, prefix: str, value: bytes) -> None:
        """A value is bytes; an empty one is a value, and no tombstone."""
        await self.keep(store, {prefix: Entry(version(1), value)})
        assert list(await store.get([prefix])) == [Entry(version(1), value)]

    async def test_takes_a_value_of_the_limit(self, store: Store, prefix: str) -> None:
        """A value as large as the limit (but for this test 16 MiB at most) comes back whole."""
        size_bytes = min(store.limits.max_value_bytes, LARGE_BYTES)
        entry = Entry(version(1), (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes])
        await self.keep(store, {prefix: entry})
        (found,) = await store.get([prefix])
        assert found is not None
        assert found.value == entry.value, "the value came back changed"

    @pytest.mark.parametrize("media_type", MEDIA_TYPES, ids=lambda media_type: media_type[:20])
    @pytest.mark.parametrize("expires_at_ms", [None, 0, PAST_MS, FUTURE_MS, 2**48 - 1])
    async def test_returns_media_type_and_expiry(
        self, store: Store, prefix: str, media_type: str, expires_at_ms: int | None
    ) -> None:
        """All fields come back, expired or not."""
        entry = Entry(version(1), b"value", media_type, expires_at_ms)
        await self.keep(store, {prefix: entry})
        assert list(await store.get([prefix])) == [entry]

    # --- many at once ---

    @pytest.mark.parametrize("expected", [ZERO, version(1)], ids=["create", "update"])
    async def test_one_of_many_conditional_writes_wins(self, store: Store, prefix: str, expected: Version) -> None:
        """Of conditional writes on one version that overlap, in separate calls, exactly one is applied."""
        if expected != ZERO:
            await self.keep(store, {prefix: Entry(expected, b"first")})
        writes = [Mutation(prefix, Entry(version(n), b"%d" % n), expected) for n in range(2, 52)]
        verdicts = [outcome.verdict for (outcome,) in await asyncio.gather(*(store.apply([write]) for write in writes))]
        assert (verdicts.count(Verdict.APPLIED), verdicts.count(Verdict.CONFLICT)) == (1, 49)
        (held,) = await store.get([prefix])
        assert held == writes[verdicts.index(Verdict.APPLIED)].entry

    async def test_the_highest_version_of_many_overlapping_writes_stays(self, store: Store, prefix: str) -> None:
        """Calls on the same keys, in different orders, neither block each other for good nor leave anything but the newest."""
        dice, keys = random.Random(1), [f"{prefix}{n}" for n in range(40)]
        numbers = dice.sample(range(1, 31), 30)
        calls = [[Mutation(key, Entry(version(n), b"%d" % n)) for key in dice.sample(keys, 40)] for n in numbers]
        async with asyncio.timeout(6 * self.patience_s):
            await asyncio.gather(*(store.apply(call) for call in calls))
        assert list(await store.get(keys)) == [Entry(version(30), b"30")] * 40

    async def test_a_get_sees_what_was_applied_before_it(self, store: Store, prefix: str) -> None:
        """Whoever reads after an apply has returned finds it, however many do so at once."""

        async def use(key: str) -> None:
            for n in range(1, 6):
                entry = Entry(version(n), b"%d" % n)
                assert list(await store.apply([Mutation(key, entry)])) == [
                    Outcome(Verdict.APPLIED, entry.version, True)
                ]
                assert list(await store.get([key])) == [entry]

        await asyncio.gather(*(use(f"{prefix}{n:03}") for n in range(100)))

    async def test_stays_usable_when_calls_are_cancelled(self, store: Store, prefix: str) -> None:
        """A cancelled apply happened or did not, key by key, and what is asked afterwards is answered rightly."""
        keys = [f"{prefix}{n:02}" for n in range(40)]
        for number in range(1, 6):
            entry = Entry(version(number), b"%d" % number)
            await cancel_midway(store.apply([Mutation(key, entry)]) for key in keys)
            await cancel_midway(store.get([key]) for key in keys)
            for found in await store.get(keys):
                assert found is None or found.value == b"%d" % int(found.version, 16)
        last = Entry(version(99), b"last")
        await asyncio.gather(*(store.apply([Mutation(key, last)]) for key in keys))
        assert list(await store.get(keys)) == [last] * 40

    # --- purging ---

    async def test_purges_what_ended_before_and_nothing_else(self, store: Store, prefix: str) -> None:
        """Tombstones written and entries expired before the bound are removed; at the bound and later, and what lives, stay."""
        bound, early, late = version_at(PAST_MS), version_at(PAST_MS - 1), version_at(PAST_MS + 1)
        await purge_all(store, bound)
        gone = {"deleted": Entry(early), "expired": Entry(early, b"x", expires_at_ms=PAST_MS - 1)}
        kept = {
            "live": Entry(early, b"x"),
            "live until later": Entry(early, b"x", expires_at_ms=FUTURE_MS),
            "expired at the bound": Entry(early, b"x", expires_at_ms=PAST_MS),
            "expired later": Entry(early, b"x", expires_at_ms=PAST_MS + 1),
            "deleted at the bound": Entry(bound),
            "deleted later": Entry(late),
        }
        await self.keep(store, {f"{prefix}{name}": entry for name, entry in (gone | kept).items()})
        assert (await store.purge(bound, 100)).removed == len(gone)
        found = dict(zip(gone | kept, await store.get([f"{prefix}{name}" for name in gone | kept]), strict=True))
        assert {name: entry for name, entry in found.items() if entry is not None} == kept

    async def test_purges_up_to_a_limit(self, store: Store, prefix: str) -> None:
        """Each call removes at most as many as asked for, and says how many; none are left when that is fewer."""
        bound, early = version_at(PAST_MS), version_at(PAST_MS - 1)
        await purge_all(store, bound)
        await self.keep(store, {f"{prefix}{n}": Entry(early) for n in range(5)})
        calls = [await store.purge(bound, 2) for _ in range(4)]
        assert [call.removed for call in calls] == [2, 2, 1, 0]
        assert calls[0].more
        assert not calls[3].more
        assert list(await store.get([f"{prefix}{n}" for n in range(5)])) == [None] * 5

    # --- the rest ---

    async def test_tells_its_limits_and_numbers(self, store: Store, prefix: str) -> None:
        """Limits allow for something, and the newest version, where it is known, is one that was applied or a newer one."""
        assert store.limits.max_key_bytes >= 255
        assert store.limits.max_value_bytes >= 65_536
        applied = HybridClock(max_ahead_ms=60_000).stamp()
        await self.keep(store, {prefix: Entry(applied, b"value")})
        stats = await store.stats()
        assert isinstance(stats, StoreStats)
        assert stats.newest is None or stats.newest >= applied
        assert stats.size_bytes is None or stats.size_bytes >= 0

    # --- abilities ---

    async def test_survives_reopening_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """A durable store has its entries after reopening; one in this process alone has forgotten them."""
        entries = {f"{prefix}live": Entry(version(2), b"value"), f"{prefix}deleted": Entry(version(3))}
        async with self.factory.open(settings) as store:
            await self.keep(store, entries)
        async with self.factory.open(settings) as store:
            found = list(await store.get(list(entries)))
        if Ability.DURABLE in self.factory.abilities:
            assert found == list(entries.values())
        elif Ability.SHARED not in self.factory.abilities:
            assert found == [None, None]

    async def test_shares_entries_between_nodes_if_declared(self, settings: msgspec.Struct, prefix: str) -> None:
        """Nodes that share a store see and guard each other's writes; those that do not share see none of them."""
        async with self.opened_twice(settings) as (first, second):
            await self.keep(first, {prefix: Entry(version(5), b"five")})
            if Ability.SHARED in self.factory.abilities:
                assert list(await second.get([prefix])) == [Entry(version(5), b"five")]
                (outcome,) = await second.apply([Mutation(prefix, Entry(version(4), b"four"))])
                assert outcome.verdict is Verdict.SUPERSEDED
            elif second is not None:
                assert list(await second.get([prefix])) == [None]
