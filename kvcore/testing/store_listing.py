"""The part of the suite for stores that is about listing, for those that declare the ability."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Final

import pytest

from kvcore.backends import MAX_KEY_BYTES, Ability, Listed, Listing, Store, listing_of
from kvcore.clock import HybridClock, version_at
from kvcore.errors import UnsupportedError
from kvcore.model import Entry, Mutation
from kvcore.testing.samples import VALUES, odd_keys, version
from kvcore.testing.store_model import FUTURE_MS, PAST_MS, StoreModel, below, histories
from kvcore.testing.store_opening import StoreOpening
from kvcore.testing.waiting import eventually, for_all

__all__ = ("ListingTests",)

MANY: Final = 12_000
"""Deleted keys: more than a store should look at in one call."""


class ListingTests(StoreOpening):
    """A listing has the keys that exist, in order, and comes to its end, in pages of any size."""

    async def test_lists_what_exists_with_its_particulars(self, store: Store, prefix: str) -> None:
        """A line tells version, size, media type and expiry; tombstones and expired entries have none."""
        if (listing := self.listing(store)) is None:
            return
        live = Entry(version(1), b"12345", "text/plain", FUTURE_MS)
        gone = {f"{prefix}b": Entry(version(2)), f"{prefix}c": Entry(version(3), b"old", expires_at_ms=PAST_MS)}
        await self.keep(store, {f"{prefix}a": live, **gone})
        assert await everything(listing, prefix) == [Listed(f"{prefix}a", version(1), 5, "text/plain", FUTURE_MS)]

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:12]))
    async def test_tells_the_size_of_any_value(self, store: Store, prefix: str, value: bytes) -> None:
        """A line tells how many bytes the value has; an empty one is a value, and no tombstone."""
        if (listing := self.listing(store)) is None:
            return
        await self.keep(store, {prefix: Entry(version(1), value)})
        assert [line.size_bytes for line in await everything(listing, prefix)] == [len(value)]

    async def test_lists_as_a_dictionary_would_after_any_history(self, store: Store, prefix: str) -> None:
        """Whatever is applied in whatever order, the listing is that of a dictionary and `judge`, also in the smallest pages."""
        if (listing := self.listing(store)) is None:
            return
        numbers = itertools.count()

        async def check(history: list[list[Mutation]]) -> None:
            own, model = f"{prefix}{next(numbers)}/", StoreModel()
            for call in history:
                mutations = [below(own, mutation) for mutation in call]
                await store.apply(mutations)
                model.apply(mutations)
            for limit in (1, 100):
                assert await everything(listing, own, limit) == model.listing(own)

        await for_all(histories(), check, examples=50)

    @pytest.mark.parametrize("limit", [1, 7, 1000])
    async def test_lists_keys_of_every_kind_in_order(self, store: Store, prefix: str, limit: int) -> None:
        """Keys of any characters, up to the longest, come in the byte order of UTF-8, whatever the size of a page."""
        if (listing := self.listing(store)) is None:
            return
        keys = odd_keys(prefix, min(store.limits.max_key_bytes, MAX_KEY_BYTES))
        await self.keep(store, {key: Entry(version(1), b"") for key in keys})
        listed = [line.key for line in await everything(listing, prefix, limit)]
        assert [key[:80] for key in listed] == [key[:80] for key in sorted(keys, key=str.encode)]

    @pytest.mark.parametrize(
        "inner",
        [
            "",
            "%",
            "_",
            "\\",
            "*",
            "?",
            "[a-z]",
            "'",
            "/",
            "//",
            " ",
            "😀",
            "\x01",
            "a",
            "\ud7ff",
            "\uffff",
            "\U0010ffff",
        ],
    )
    async def test_a_prefix_means_its_characters_and_nothing_else(self, store: Store, prefix: str, inner: str) -> None:
        """No character of a prefix is a wildcard, and its last one, even the highest there is, ends the listing rightly."""
        if (listing := self.listing(store)) is None:
            return
        keys = [key for key in odd_keys(prefix) if len(key) < 1000]
        keys += [key + more for key in keys if key != prefix for more in ("x", "\U0010ffff")]
        keys = sorted(set(keys), key=str.encode)
        await self.keep(store, {key: Entry(version(1), b"") for key in keys})
        for limit in (3, len(keys) + 1):
            listed = [line.key for line in await everything(listing, prefix + inner, limit)]
            assert listed == [key for key in keys if key.startswith(prefix + inner)]

    async def test_lists_a_thousand_keys_in_one_call(self, store: Store, prefix: str) -> None:
        """Where nothing was deleted a call returns as many keys as it was asked for, and then that there is no more."""
        if (listing := self.listing(store)) is None:
            return
        keys = [f"{prefix}{n:04}" for n in range(1000)]
        await self.keep(store, {key: Entry(version(1), b"value") for key in keys})
        assert [line.key for line in (await listing.scan(prefix, None, 1000)).listed] == keys
        first = await listing.scan(prefix, None, 600)
        assert [line.key for line in first.listed] == keys[:600]
        rest = await listing.scan(prefix, first.after, 600)
        assert [line.key for line in rest.listed] == keys[600:]
        assert rest.after is None

    async def test_begins_after_any_text(self, store: Store, prefix: str) -> None:
        """`after` need not be a key that exists, nor begin with the prefix."""
        if (listing := self.listing(store)) is None:
            return
        keys = [f"{prefix}in/{name}" for name in "ace"]
        await self.keep(store, {key: Entry(version(1), b"") for key in (*keys, f"{prefix}im", f"{prefix}io")})
        for after, expected in (
            (f"{prefix}in/a", keys[1:]),
            (f"{prefix}in/b", keys[1:]),
            (f"{prefix}in/", keys),
            (f"{prefix}im", keys),
            (f"{prefix}in/e", []),
            (f"{prefix}io", []),
        ):
            found = await listing.scan(f"{prefix}in/", after, 9)
            assert [line.key for line in found.listed] == expected, f"after {after}"
        assert [line.key for line in (await listing.scan("", f"{prefix}im", 3)).listed] == keys

    async def test_goes_on_after_a_key_that_is_gone(self, store: Store, prefix: str) -> None:
        """A listing goes on where it was, though the last key that it told of has been deleted, and even purged, since."""
        if (listing := self.listing(store)) is None:
            return
        keys = [f"{prefix}{n}" for n in range(6)]
        await self.keep(store, {key: Entry(version(1), b"") for key in keys})
        first = await listing.scan(prefix, None, 2)
        assert [line.key for line in first.listed] == keys[:2]
        await self.keep(store, {key: Entry(version(2)) for key in keys[:3]})
        await store.purge(version_at(PAST_MS), 1000)
        assert [line.key for line in await everything(listing, prefix, 2, first.after)] == keys[3:]

    async def test_passes_over_many_deleted_keys(self, store: Store, prefix: str) -> None:
        """Among any number of deleted and expired keys each call gets on, and those that exist are all found."""
        if (listing := self.listing(store)) is None:
            return
        keys = [f"{prefix}{n:06}" for n in range(MANY)]
        ended = [Entry(version(1)), Entry(version(1), b"x", expires_at_ms=PAST_MS)]
        for start in range(0, MANY, 1000):
            batch = enumerate(keys[start : start + 1000])
            await self.keep(store, {key: ended[n % 2] for n, key in batch})
        live = keys[-2:]
        await self.keep(store, {key: Entry(version(2), b"live") for key in live})
        for limit in (1, 1000):
            assert [line.key for line in await everything(listing, prefix, limit)] == live

    async def test_sees_once_what_is_there_throughout(self, store: Store, prefix: str) -> None:
        """While keys are written, deleted and purged, a listing has each key that existed all the time once, and none twice."""
        if (listing := self.listing(store)) is None:
            return
        lasting, dice, numbers = [f"{prefix}{n:03}" for n in range(100)], random.Random(1), itertools.count(2)

        async def change() -> None:
            """Write and delete keys around those that last, write some of these anew, and sometimes purge."""
            number = next(numbers)
            passing = [f"{key}{dice.choice(' /x')}" for key in dice.sample(lasting, 20)]
            entries = {key: Entry(version(number), dice.choice((b"x", None))) for key in passing}
            entries |= {key: Entry(version(number), b"%d" % number) for key in dice.sample(lasting, 5)}
            await self.keep(store, entries)
            if number % 5 == 0:
                await store.purge(version_at(PAST_MS), 1000)

        await self.keep(store, {key: Entry(version(1), b"") for key in lasting})
        for limit in (1, 7, 10, 20, 50):
            seen = [line.key for line in await everything(listing, prefix, limit, meanwhile=change)]
            assert sorted(set(seen)) == seen
            assert set(lasting) <= set(seen)

    async def test_lists_what_was_applied_before_it(self, store: Store, prefix: str) -> None:
        """Whoever lists after an apply has returned finds it, however many do so at once."""
        if (listing := self.listing(store)) is None:
            return

        async def use(key: str) -> None:
            for n in range(1, 6):
                await self.keep(store, {key: Entry(version(n), b"%d" % n)})
                assert [line.version for line in (await listing.scan(key, None, 1)).listed] == [version(n)]

        await asyncio.gather(*(use(f"{prefix}{n:03}") for n in range(50)))

    async def test_lists_an_entry_until_it_expires(self, store: Store, prefix: str) -> None:
        """From its expiry on a key is listed no more, though nobody has touched it."""
        if (listing := self.listing(store)) is None:
            return
        soon_ms = HybridClock(max_ahead_ms=60_000).now_ms() + 300
        await self.keep(store, {prefix: Entry(version(1), b"value", expires_at_ms=soon_ms)})

        async def ended() -> bool:
            return await everything(listing, prefix) == []

        await eventually(ended, within_s=self.patience_s, what="the expiry of an entry")

    def listing(self, store: Store) -> Listing | None:
        """Return the store's listing; None where it is not declared, after asserting that it is refused."""
        if Ability.LISTING in self.factory.abilities:
            return listing_of(store)
        with pytest.raises(UnsupportedError):
            listing_of(store)
        return None


async def _nothing() -> None:
    """Let the listing be the only one."""


async def everything(
    listing: Listing,
    prefix: str,
    limit: int = 100,
    after: str | None = None,
    *,
    meanwhile: Callable[[], Awaitable[None]] = _nothing,
) -> list[Listed]:
    """List to the end, in pages of up to `limit`; `meanwhile` happens during each. Each page must keep the contract."""
    lines: list[Listed] = []
    while True:
        page, _ = await asyncio.gather(listing.scan(prefix, after, limit), meanwhile())
        assert len(page.listed) <= limit
        keys = [line.key for line in page.listed]
        passed = keys if page.after is None or page.after in keys[-1:] else [*keys, page.after]
        assert all(key.startswith(prefix) for key in passed)
        in_order = [key.encode() for key in ("" if after is None else after, *passed)]
        assert all(first < second for first, second in pairwise(in_order)), "the listing does not get on"
        lines += page.listed
        if page.after is None:
            return lines
        assert page.after != after, "the listing does not get on"
        after = page.after
