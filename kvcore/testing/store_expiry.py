"""The part of the suite for stores that is about expiry."""

from __future__ import annotations

import msgspec
import pytest

from kvcore.backends import Ability, Store
from kvcore.clock import HybridClock
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore.testing.samples import version
from kvcore.testing.store_model import FUTURE_MS, PAST_MS
from kvcore.testing.store_opening import StoreOpening
from kvcore.testing.waiting import eventually

__all__ = ("ExpiryTests",)

SOON_MS = 300


class ExpiryTests(StoreOpening):
    """An entry's expiry is kept with it, honoured by conditions, and replaced by the next write."""

    @pytest.mark.parametrize("expected", [None, PRESENT, version(5)], ids=["always", "if-present", "if-this-version"])
    @pytest.mark.parametrize("expires_at_ms", [None, FUTURE_MS - 1, FUTURE_MS + 1, PAST_MS])
    async def test_a_write_replaces_the_expiry_of_the_one_before(
        self, store: Store, prefix: str, expected: Version | None, expires_at_ms: int | None
    ) -> None:
        """An entry lives as long as its own write says: one without an expiry lives on, whatever was said before."""
        await self.keep(store, {prefix: Entry(version(5), b"five", expires_at_ms=FUTURE_MS)})
        entry = Entry(version(6), b"six", expires_at_ms=expires_at_ms)
        (outcome,) = await store.apply([Mutation(prefix, entry, expected)])
        assert outcome == Outcome(Verdict.APPLIED, version(6), exists=expires_at_ms != PAST_MS)
        assert list(await store.get([prefix])) == [entry]
        condition = Mutation(prefix, Entry(version(7), b"seven"), PRESENT)
        (outcome,) = await store.apply([condition])
        assert outcome.verdict is (Verdict.CONFLICT if expires_at_ms == PAST_MS else Verdict.APPLIED)

    async def test_an_expired_key_that_is_written_again_lives_on(self, store: Store, prefix: str) -> None:
        """What has expired comes back with a write that sets no expiry, and nothing of the old one is left."""
        await self.keep(store, {prefix: Entry(version(5), b"five", expires_at_ms=PAST_MS)})
        again = Entry(version(6), b"six")
        assert list(await store.apply([Mutation(prefix, again, ZERO)])) == [Outcome(Verdict.APPLIED, version(6), True)]
        assert list(await store.get([prefix])) == [again]

    async def test_conditions_see_an_entry_until_it_expires(self, store: Store, prefix: str) -> None:
        """A key exists until its expiry, and from then on may be created again, though nobody has touched it."""
        soon_ms = HybridClock(max_ahead_ms=60_000).now_ms() + SOON_MS
        entry = Entry(version(5), b"value", expires_at_ms=soon_ms)
        await self.keep(store, {prefix: entry})

        async def ended() -> bool:
            # Older than what is held, so that it is never applied.
            (outcome,) = await store.apply([Mutation(prefix, Entry(version(1), b"old"), PRESENT)])
            assert outcome.verdict is (Verdict.SUPERSEDED if outcome.exists else Verdict.CONFLICT)
            return not outcome.exists

        await eventually(ended, within_s=self.patience_s, what="the expiry of an entry")
        assert list(await store.get([prefix])) == [entry]
        again = Mutation(prefix, Entry(version(6), b"again"), ZERO)
        assert list(await store.apply([again])) == [Outcome(Verdict.APPLIED, version(6), True)]

    async def test_expiries_survive_reopening_if_durable(self, settings: msgspec.Struct, prefix: str) -> None:
        """In a durable store an entry expires when it should, also if the store was closed in between."""
        if Ability.DURABLE not in self.factory.abilities:
            return
        entries = {
            f"{prefix}expired": Entry(version(5), b"five", expires_at_ms=PAST_MS),
            f"{prefix}live": Entry(version(5), b"five", expires_at_ms=FUTURE_MS),
        }
        async with self.factory.open(settings) as store:
            await self.keep(store, entries)
        async with self.factory.open(settings) as store:
            assert list(await store.get(list(entries))) == list(entries.values())
            outcomes = await store.apply([Mutation(key, Entry(version(6), b"six"), ZERO) for key in entries])
        assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.CONFLICT]
