"""What is special to the cache in memory: its bounds, its accounting and its clock."""

from __future__ import annotations

import tracemalloc

import pytest

from kvcore.backends import Install, Reserve
from kvcore.model import ZERO, Entry, Version
from kvcore_cache_memory import MemoryCache, MemoryCacheSettings

LONG_MS = 1_000_000


def version(number: int) -> Version:
    """Return a version by its place in the order."""
    return Version(f"{number:024x}")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now_s


async def fill(cache: MemoryCache, key: str, value: bytes = b"value", lifetime_ms: int = LONG_MS) -> None:
    """Install an entry, by a lease; its media type is an object of its own, as in life."""
    await cache.reserve([Reserve(key, "token", False, LONG_MS)])
    await cache.install([Install(key, Entry(version(1), value, f"text/{key}"), "token", lifetime_ms)])


async def present(cache: MemoryCache, *keys: str) -> list[str]:
    """Return those of the keys that the cache has."""
    return [key for key, entry in zip(keys, await cache.read(keys), strict=True) if entry is not None]


async def test_evicts_what_was_not_used_for_the_longest_time() -> None:
    """Beyond `max_keys` the least recently used slot goes, and reading is using."""
    cache = MemoryCache(MemoryCacheSettings(max_keys=3))
    for key in "abc":
        await fill(cache, key)
    await cache.read(["a"])
    await fill(cache, "d")
    assert await present(cache, "a", "b", "c", "d") == ["a", "c", "d"]
    assert (await cache.stats()).evictions == 1


async def test_keeps_the_bound_on_memory() -> None:
    """Beyond `max_bytes` slots go until there is room, however large the values are."""
    cache = MemoryCache(MemoryCacheSettings(max_bytes=100_000))
    for n in range(200):
        await fill(cache, str(n), bytes(n * 97 % 9000))
        assert (await cache.stats()).memory_used_bytes <= 100_000
    assert (await cache.stats()).evictions > 0
    assert await present(cache, "199") == ["199"]


async def test_an_entry_larger_than_the_cache_leaves_the_slot_absent() -> None:
    """What cannot be held evicts nothing else, and what was there before it is gone."""
    cache = MemoryCache(MemoryCacheSettings(max_bytes=100_000))
    await fill(cache, "small")
    await fill(cache, "grown")
    await cache.install([Install("grown", Entry(version(2), bytes(200_000)), "", LONG_MS)])
    assert await present(cache, "small", "grown") == ["small"]


async def test_drops_ended_slots_before_it_evicts_any() -> None:
    """Slots that have ended and were not used for the longest time make room, and do not count as evictions."""
    clock = Clock()
    cache = MemoryCache(MemoryCacheSettings(max_keys=4), clock_s=clock)
    for key in "abcd":
        await fill(cache, key, lifetime_ms=1000)
    clock.now_s += 1
    await fill(cache, "e")
    stats = await cache.stats()
    assert (stats.keys_count, stats.evictions) == (1, 0)


async def test_a_lifetime_ends_to_the_millisecond() -> None:
    """A slot is there until its lifetime is over, and not at that moment any more."""
    clock = Clock()
    cache = MemoryCache(MemoryCacheSettings(), clock_s=clock)
    await fill(cache, "key", lifetime_ms=1000)
    clock.now_s += 0.999
    assert await present(cache, "key") == ["key"]
    clock.now_s = 1001.0
    assert await present(cache, "key") == []


async def test_an_emptied_cache_uses_no_memory() -> None:
    """The account is back at zero when all slots are gone, whichever way they went."""
    clock = Clock()
    cache = MemoryCache(MemoryCacheSettings(), clock_s=clock)
    for n in range(10):
        await fill(cache, str(n), bytes(n), lifetime_ms=1000)
        await fill(cache, str(n), bytes(2 * n), lifetime_ms=1000)
    clock.now_s += 2
    await cache.install([Install(str(n), Entry(ZERO), "late", LONG_MS) for n in range(10)])
    stats = await cache.stats()
    assert (stats.keys_count, stats.memory_used_bytes) == (0, 0)


@pytest.mark.parametrize("value_bytes", [0, 100, 1000])
async def test_accounts_for_the_memory_that_it_takes(value_bytes: int) -> None:
    """What the cache says it uses is what Python has allocated for it, within a fifth."""
    cache, count = MemoryCache(MemoryCacheSettings()), 20_000
    tracemalloc.start()
    try:
        for n in range(count):
            await fill(cache, f"some/usual/key/{n}", bytes(value_bytes))
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (await cache.stats()).memory_used_bytes == pytest.approx(allocated, rel=0.2)
