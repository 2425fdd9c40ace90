"""What is special to the store in memory: its clock and its numbers."""

from __future__ import annotations

import pytest

from kvcore.model import Entry, Mutation, Version
from kvcore_store_memory import MemoryStore
from kvcore_store_memory import store as module


def version(number: int) -> Version:
    """Return a version by its place in the order."""
    return Version(f"{number:024x}")


async def test_an_entry_is_listed_until_the_millisecond_of_its_expiry() -> None:
    """A key exists before its expiry, and not at that moment any more."""
    now_ms = 1000
    store = MemoryStore(now_ms=lambda: now_ms)
    await store.apply([Mutation("key", Entry(version(1), b"value", expires_at_ms=2000))])
    now_ms = 1999
    assert len((await store.scan("", None, 9)).listed) == 1
    now_ms = 2000
    assert len((await store.scan("", None, 9)).listed) == 0


async def test_counts_the_bytes_that_it_holds() -> None:
    """Keys and values count in bytes, once each, whatever was replaced, deleted or purged."""
    store = MemoryStore()
    await store.apply([Mutation("é", Entry(version(1), b"12345"))])
    assert (await store.stats()).size_bytes == 7
    await store.apply([Mutation("é", Entry(version(2), b"1"))])
    assert (await store.stats()).size_bytes == 3
    await store.apply([Mutation("é", Entry(version(3)))])
    assert (await store.stats()).size_bytes == 2
    assert (await store.purge(version(2**96 - 1), 9)).removed == 1
    assert (await store.stats()).size_bytes == 0


async def test_tells_the_newest_version_applied() -> None:
    """The newest version is that of the latest write, and None before the first."""
    store = MemoryStore()
    assert (await store.stats()).newest is None
    await store.apply([Mutation("a", Entry(version(5), b"")), Mutation("b", Entry(version(4), b""))])
    assert (await store.stats()).newest == version(5)


async def test_a_listing_is_in_order_after_any_writes_and_purges() -> None:
    """Keys that come between two listings are found in their places, and purged ones are gone."""
    store = MemoryStore()
    for key in "cab":
        await store.apply([Mutation(key, Entry(version(1), b""))])
        await store.scan("", None, 9)
    await store.apply([Mutation("b", Entry(version(2)))])
    await store.purge(version(2**96 - 1), 9)
    await store.apply([Mutation("aa", Entry(version(3), b""))])
    assert [line.key for line in (await store.scan("", None, 9)).listed] == ["a", "aa", "c"]


async def test_a_listing_looks_at_so_many_keys_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many deleted keys there are, the event loop is held for no more than a number of them."""
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 3)
    store = MemoryStore()
    await store.apply([Mutation(key, Entry(version(1), None if key < "7" else b"")) for key in "0123456789"])
    pages = [await store.scan("", after, 2) for after in (None, "2", "5", "8")]
    assert [page.after for page in pages] == ["2", "5", "8", None]
    assert [[line.key for line in page.listed] for page in pages] == [[], [], ["7", "8"], ["9"]]
