"""Slots in a dictionary, ordered by last use: the transitions of `kvcore.slots`, run as they are.

No operation awaits anything, so each is atomic in the event loop that it runs in, and costs the same however many slots
there are.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from kvcore import slots
from kvcore.backends import Ability, Cache, CacheStats, Install, Refresh, Reserve
from kvcore.model import Entry
from kvcore.slots import Reservation, Slot

__all__ = ("MemoryCache", "MemoryCacheSettings", "open_cache")

# What CPython 3.11 to 3.13 takes for a slot beside its texts and value: the node and table share of the ordered
# dictionary, and the two Structs. A test compares the sum with what was really allocated.
_SLOT_BYTES: Final = 250


class MemoryCacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much the cache may hold. Beyond either bound the slots that were not used for the longest time are evicted."""

    max_keys: Annotated[int, Meta(ge=1, description="Most slots.")] = 1_000_000
    max_bytes: Annotated[
        int,
        Meta(
            ge=1 << 16,
            description="Most memory, in bytes, with all that Python needs around a slot. A larger entry is not cached.",
        ),
    ] = 100 << 20


class _Held(msgspec.Struct, gc=False):
    """A slot that is not absent, until when it lives (on the clock of the cache, in seconds), and what it weighs."""

    slot: Entry | slots.Lease
    ends_s: float
    size_bytes: int


class MemoryCache:
    """A cache in the memory of this process: see `kvcore.backends.Cache`.

    A slot whose lifetime is over is absent to everyone. Its memory is given back when its key is written again, or when
    it has become one of the least recently used: every slot filled frees up to two of those.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def __init__(self, settings: MemoryCacheSettings, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._max_keys = settings.max_keys
        self._max_bytes = settings.max_bytes
        self._clock_s = clock_s
        # Least recently used first. A plain dict would do, if it did not walk over all that was ever removed from its
        # front.
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    async def read(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        now_s = self._clock_s()
        entries: list[Entry | None] = []
        for key in keys:
            entry = None
            held = self._held.get(key)
            if held is not None and held.ends_s > now_s:
                entry = slots.read(held.slot)
                self._held.move_to_end(key)
            if entry is None:
                self._misses += 1
            else:
                self._hits += 1
            entries.append(entry)
        return entries

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        now_s = self._clock_s()
        reservations = []
        for ask in asked:
            before = self._slot(ask.key, now_s)
            after, reservation = slots.reserve(before, ask.token, reader=ask.reader)
            if after is not before:
                self._put(ask.key, after, now_s, ask.lifetime_ms)
            reservations.append(reservation)
        return reservations

    async def install(self, installs: Sequence[Install]) -> None:
        now_s = self._clock_s()
        for fill in installs:
            before = self._slot(fill.key, now_s)
            after = slots.install(before, fill.entry, fill.token)
            if after is not before:
                self._put(fill.key, after, now_s, fill.lifetime_ms)

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        now_s = self._clock_s()
        for fresh in refreshes:
            before = self._slot(fresh.key, now_s)
            after = slots.refresh(before, fresh.version, fresh.entry, fresh.token)
            # In one process the slot may hold the very object that the store confirms: that is no "nothing has
            # changed".
            if after is not before or (after is not None and after is fresh.entry):
                self._put(fresh.key, after, now_s, fresh.lifetime_ms)

    async def clear(self) -> None:
        self._held.clear()
        self._bytes = 0

    async def stats(self) -> CacheStats:
        return CacheStats(
            keys_count=len(self._held),
            max_keys=self._max_keys,
            memory_used_bytes=self._bytes,
            max_memory_bytes=self._max_bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    async def ping(self) -> str:
        return "this process"

    def _slot(self, key: str, now_s: float) -> Slot:
        held = self._held.get(key)
        if held is None:
            return None
        if held.ends_s > now_s:
            return held.slot
        self._remove(key)
        return None

    def _put(self, key: str, slot: Slot, now_s: float, lifetime_ms: int) -> None:
        self._remove(key)
        if slot is None:
            return
        size_bytes = _size_bytes(key, slot)
        if size_bytes > self._max_bytes:
            return
        self._held[key] = _Held(slot, now_s + lifetime_ms / 1000, size_bytes)
        self._bytes += size_bytes
        self._make_room(now_s)

    def _remove(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.size_bytes

    def _make_room(self, now_s: float) -> None:
        """Evict until the bounds are kept, and free a little of what has ended anyway."""
        spared = 2
        while True:
            key, oldest = next(iter(self._held.items()))
            crowded = len(self._held) > self._max_keys or self._bytes > self._max_bytes
            ended = oldest.ends_s <= now_s
            if not crowded and not (ended and spared):
                return
            self._remove(key)
            if ended:
                spared -= 1
            else:
                self._evictions += 1


def _size_bytes(key: str, slot: Entry | slots.Lease) -> int:
    if isinstance(slot, slots.Lease):
        return _SLOT_BYTES + sys.getsizeof(key) + sys.getsizeof(slot.token)
    size = _SLOT_BYTES + sys.getsizeof(key) + sys.getsizeof(slot.version) + sys.getsizeof(slot.media_type)
    return size if slot.value is None else size + sys.getsizeof(slot.value)


@asynccontextmanager
async def open_cache(settings: MemoryCacheSettings) -> AsyncIterator[Cache]:
    """Yield an empty cache, which is forgotten on leaving."""
    yield MemoryCache(settings)
