"""Entries in a dictionary, a sorted list of their keys, and the outcomes of requests."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import ClassVar, Final

import msgspec

from kvcore.backends import MAX_KEY_BYTES, Ability, Limits, Listed, Purged, Scanned, Store, StoreStats
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version, is_final, judge

__all__ = ("MemoryStore", "MemoryStoreSettings", "open_store")

LIMITS: Final = Limits(max_key_bytes=MAX_KEY_BYTES, max_value_bytes=1 << 30)
_MOST_LOOKED_AT: Final = 10_000
"""How many keys one call of `scan` looks at: some milliseconds' worth, in which the event loop does nothing else."""


class MemoryStoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """There is nothing to set."""


class MemoryStore:
    """A store in the memory of this process: see `kvcore.backends.Store`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.LISTING, Ability.IDEMPOTENCY})

    def __init__(self, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._entries: dict[str, Entry] = {}
        self._answers: dict[bytes, tuple[int, Outcome]] = {}
        """By request the outcome, and the time of the version of the mutation that it was given to."""
        # Python compares texts by code points, which is the byte order of UTF-8. Sorted when it is looked at: it mostly
        # is already.
        self._keys: list[str] = []
        self._sorted = True
        self._size_bytes = 0
        self._newest: Version = ZERO

    @property
    def limits(self) -> Limits:
        return LIMITS

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        return [self._entries.get(key) for key in keys]

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        now_ms = self._now_ms()
        return [self._apply(mutation, now_ms) for mutation in mutations]

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        listed: list[Listed] = []
        key, now_ms = after, self._now_ms()
        for number, following in enumerate(self._following(prefix, after)):
            if len(listed) == limit or number == _MOST_LOOKED_AT:
                return Scanned(listed, key)
            key, entry = following, self._entries[following]
            if entry.value is not None and entry.is_live(now_ms):
                listed.append(Listed(key, entry.version, len(entry.value), entry.media_type, entry.expires_at_ms))
        return Scanned(listed, None)

    async def purge(self, before: Version, limit: int) -> Purged:
        before_ms = _written_ms(before)
        ended = [key for key, entry in self._entries.items() if _ended_ms(entry) < before_ms][:limit]
        for key in ended:
            self._size_bytes -= _size_bytes(key, self._entries.pop(key))
        if ended:
            self._keys = sorted(self._entries)
        old = [request_id for request_id, (at_ms, _) in self._answers.items() if at_ms < before_ms]
        for request_id in old[: limit - len(ended)]:
            del self._answers[request_id]
        return Purged(min(len(ended) + len(old), limit), more=len(ended) + len(old) >= limit)

    async def stats(self) -> StoreStats:
        return StoreStats(size_bytes=self._size_bytes, newest=None if self._newest == ZERO else self._newest)

    async def ping(self) -> str:
        return "this process"

    def _apply(self, mutation: Mutation, now_ms: int) -> Outcome:
        if mutation.request_id in self._answers:
            return self._answers[mutation.request_id][1]
        held = self._entries.get(mutation.key)
        reason = _refusal(mutation)
        if reason:
            exists = held is not None and held.is_live(now_ms)
            return Outcome(Verdict.REJECTED, ZERO if held is None else held.version, exists, reason)
        outcome = judge(mutation, held, now_ms)
        if outcome.verdict is Verdict.APPLIED and (held is None or held.version != mutation.version):
            self._keep(mutation.key, mutation.entry, held)
        if mutation.request_id and is_final(mutation, outcome):
            self._answers[mutation.request_id] = _written_ms(mutation.version), outcome
        return outcome

    def _keep(self, key: str, entry: Entry, held: Entry | None) -> None:
        if held is None:
            self._keys.append(key)
            self._sorted = False
        else:
            self._size_bytes -= _size_bytes(key, held)
        self._entries[key] = entry
        self._size_bytes += _size_bytes(key, entry)
        self._newest = max(self._newest, entry.version)

    def _following(self, prefix: str, after: str | None) -> Iterator[str]:
        """Return the keys with a prefix that come after `after`, in order."""
        if not self._sorted:
            self._keys.sort()
            self._sorted = True
        keys = self._keys
        start = bisect_left(keys, prefix) if after is None or after < prefix else bisect_right(keys, after)
        return takewhile(lambda key: key.startswith(prefix), map(keys.__getitem__, range(start, len(keys))))


def _refusal(mutation: Mutation) -> str:
    key_bytes = len(mutation.key.encode())
    if key_bytes > LIMITS.max_key_bytes:
        return f"the key has {key_bytes} bytes, and the store takes {LIMITS.max_key_bytes}"
    value_bytes = len(mutation.entry.value or b"")
    if value_bytes > LIMITS.max_value_bytes:
        return f"the value has {value_bytes} bytes, and the store takes {LIMITS.max_value_bytes}"
    return ""


def _ended_ms(entry: Entry) -> float:
    """Return the time from which nobody sees a value there: that of the delete, or of the expiry; infinity for never."""
    if entry.value is None:
        return _written_ms(entry.version)
    return float("inf") if entry.expires_at_ms is None else entry.expires_at_ms


def _written_ms(version: Version) -> int:
    return int(version[:12], 16)


def _size_bytes(key: str, entry: Entry) -> int:
    return len(key.encode()) + len(entry.value or b"")


@asynccontextmanager
async def open_store(settings: MemoryStoreSettings) -> AsyncIterator[Store]:
    """Yield an empty store, which is forgotten on leaving."""
    yield MemoryStore()
