"""The key-value service: how a read and a write go through the three tiers.

Write: reserve the slot in the cache (the clock takes note of the version found there) → stamp → publish and wait for
the confirm → install in the cache → answer "accepted". With `stored`, and for every condition, the worker's outcome is
waited for instead. Without a queue, or when it is down, the node applies to the store itself, which is guarded by the
same versions.

Read: cache → on a miss a lease, then the store, then a fill by that lease.

What versions, conditions and answers mean is here; how the tiers are asked, in `kvcore.write_path` and
`kvcore.read_path`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from kvcore.applying import Lifetimes
from kvcore.backends import (
    Ability,
    Cache,
    CacheStats,
    Queue,
    Scanned,
    Store,
    listing_of,
)
from kvcore.bounds import Bounds
from kvcore.clock import HybridClock, version_at, version_ms
from kvcore.errors import (
    ChangingNothing,
    CircuitOpenError,
    ClockSkewError,
    ConditionFailedError,
    OverloadedError,
    RejectedError,
    RequestError,
    UnavailableError,
    UnsupportedError,
    VersionNotReachedError,
)
from kvcore.metrics import Metrics, ReadResult
from kvcore.model import JSON, NEVER, PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore.read_path import ReadPath
from kvcore.settings import Settings
from kvcore.tiers import Tier
from kvcore.tracing import ORIGIN
from kvcore.write_path import WritePath

__all__ = ("MAX_TTL_S", "Ack", "Found", "KeyValueService", "Restored", "Written")

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ack = Literal["accepted", "stored"]
CacheUse = Literal["hit", "miss", "stale", "bypass"]

MAX_TTL_S: Final = 100 * 366 * 86_400
_FIRST_POLL_S: Final = 0.002
_LONGEST_POLL_S: Final = 0.2
_POLLS_PER_S: Final = 2500
"""By all who wait for a version together: a fraction of what a node can do."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """What a read found. `entry` is None where the key does not exist; `cache` tells what the cache had to do with it."""

    entry: Entry | None
    cache: CacheUse


class Written(msgspec.Struct, frozen=True, gc=False):
    """What a write came to: its version, and whether the store has it (else: a queue that will bring it there)."""

    version: Version
    stored: bool


class Restored(msgspec.Struct, frozen=True, gc=False):
    """What became of an entry that was to be restored, and the version that the key has now; "expired": as far as known."""

    version: Version
    what: Literal["restored", "newer", "expired"]


class KeyValueService:
    """Reads and writes single keys through the three tiers, joining what arrives at the same time into bulk calls."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: HybridClock,
        cache: Tier[Cache],
        queue: Tier[Queue] | None,
        store: Tier[Store],
        metrics: Metrics,
        applied: Callable[[Sequence[Mutation]], None] = lambda mutations: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._reads = metrics.reads.results
        self._writes = metrics.writes
        self._tokens = itertools.count()
        # Who waits does nothing, and for seconds: others must be served meanwhile.
        self._awaiting, self._most_awaiting = 0, max(1, settings.limits.concurrent_requests // 2)
        self._store = store.backend
        self.bounds = Bounds(settings.limits, store.backend)
        # An acceptance must not be worth less than the store's own word.
        self.accepts = queue is not None and (
            Ability.DURABLE in queue.backend.abilities or Ability.DURABLE not in store.backend.abilities
        )
        self.default_ack: Ack = (
            "accepted" if queue is not None and Ability.DURABLE in queue.backend.abilities else "stored"
        )
        lifetimes = Lifetimes(settings.cache)
        self._read_path = ReadPath(cache, store, lifetimes=lifetimes, new_token=self._new_token, metrics=metrics)
        self._write_path = WritePath(
            cache,
            queue,
            store,
            lifetimes=lifetimes,
            metrics=metrics,
            applied=applied,
            logs_mutations=settings.log.requests,
        )
        self._cache_stats = cache.guarded("stats", _asked_nothing(cache.backend.stats))
        self._scan = store.guarded("scan", self._scan_store)

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await self._read_path.aclose()
        await self._write_path.aclose()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get(
        self, key: str, *, min_version: Version = ZERO, wait_s: float = 0.5, from_store: bool = False
    ) -> Found:
        """Read a key.

        With `min_version` the answer is at least as new as that version, which is waited for up to `wait_s` seconds.
        `from_store` asks the store even when the cache has the key.

        Raises:
            RequestError: the key cannot be one, or no node can have given `min_version`.
            VersionNotReachedError: `min_version` did not arrive in time.
            OverloadedError: too many wait for theirs already.
            UnavailableError: the cache does not have the key and the store cannot be asked.
        """
        self.bounds.check_key(key)
        if min_version != ZERO and self._clock.is_ahead(min_version):
            raise RequestError(f"min_version {min_version} lies in the future: no node has given it; send an ETag's")
        use: CacheUse = "bypass"
        counted: ReadResult = "bypass"
        if not from_store:
            try:
                entry = await self._read_path.read_cache(key)
            except CircuitOpenError:
                entry = None
            except UnavailableError:
                entry, counted = None, "error"
            else:
                use = "miss" if entry is None else "hit" if entry.version >= min_version else "stale"
                counted = use
            if entry is not None and use == "hit":
                found = self._found(entry, "hit")
                self._reads["negative" if found.entry is None else "hit"].inc()
                return found
        self._reads[counted].inc()
        with ChangingNothing():
            entry = await self._behind_the_cache(key, fills=use == "miss")
            if entry.version < min_version:
                entry = await self._awaited(key, min_version, wait_s)
        return self._found(entry, use)

    async def _behind_the_cache(self, key: str, *, fills: bool) -> Entry:
        try:
            async with asyncio.timeout(self._settings.limits.read_deadline_s):
                return await (self._read_path.filled(key) if fills else self._read_path.stored(key))
        except TimeoutError:
            raise UnavailableError("the store did not answer in time") from None

    def _found(self, entry: Entry, use: CacheUse) -> Found:
        try:
            self._clock.absorb(entry.version)
        except ClockSkewError as error:
            logger.debug("read a version from the future: %s", error)
        return Found(entry if entry.is_live(self._clock.now_ms()) else None, use)

    async def _awaited(self, key: str, min_version: Version, wait_s: float) -> Entry:
        """Ask the store again until it has the version, at growing intervals, which are longer the more wait."""
        forgotten = version_at(self._clock.now_ms() - int(self._settings.store.tombstone_retention_s * 1000))
        pause_s = _FIRST_POLL_S
        if self._awaiting >= self._most_awaiting:
            self._metrics.http.limited("waiting-readers")
            raise OverloadedError("too many requests wait for versions already: try again")
        self._awaiting += 1
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    entry = await self._read_path.stored(key)
                    if entry.version >= min_version:
                        return entry
                    if entry.version == ZERO and min_version < forgotten:
                        return entry  # it was a delete, or has expired, and has been purged since
                    await asyncio.sleep(max(pause_s, self._awaiting / _POLLS_PER_S))  # nobody tells
                    pause_s = min(2 * pause_s, _LONGEST_POLL_S)
        except TimeoutError:
            raise VersionNotReachedError(
                f"the key has not reached version {min_version} within {wait_s:g} s: try again, or wait longer"
            ) from None
        finally:
            self._awaiting -= 1

    # --- listing ------------------------------------------------------------------------------------------------------

    async def scan(self, prefix: str, *, after: str | None = None, limit: int) -> Scanned:
        """List keys as the store has them: see `kvcore.backends.Listing`. What was accepted and is on its way is missing.

        Raises:
            RequestError: no key can begin with the prefix.
            UnsupportedError: the store cannot list its keys.
            UnavailableError: it cannot be asked.
        """
        listing_of(self._store)
        if prefix:
            self.bounds.check_key(prefix)  # what cannot be a key is no key's beginning
        with ChangingNothing():
            return await self._scan((prefix, after, limit))

    async def _scan_store(self, asked: tuple[str, str | None, int]) -> Scanned:
        return await listing_of(self._store).scan(*asked)

    async def entries(self, keys: Sequence[str]) -> list[Entry | None]:
        """Return the entries of keys as the store has them, in one call; None where a key does not exist now.

        Raises:
            UnavailableError: the store cannot be asked.
        """
        now_ms = self._clock.now_ms()
        with ChangingNothing():
            held = await self._read_path.all_stored(keys)
        return [entry if entry.is_live(now_ms) else None for entry in held]

    async def cache_stats(self) -> CacheStats:
        """Return the cache in numbers, as its backend sees it.

        Raises:
            UnavailableError: it cannot be asked.
        """
        with ChangingNothing():
            return await self._cache_stats(None)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        media_type: str = JSON,
        ttl_s: int | None = None,
        expected: Version | None = None,
        ack: Ack | None = None,
        request_id: bytes = b"",
    ) -> Written:
        """Write a value of at most `limits.max_value_bytes`. `ttl_s`: whole seconds from 1. For the rest see `delete`."""
        self.bounds.check_value(value)
        if ttl_s is not None and not 1 <= ttl_s <= MAX_TTL_S:
            raise RequestError(f"the ttl must be from 1 to {MAX_TTL_S} whole seconds")
        return await self._write(key, value, media_type, ttl_s, expected, ack, request_id)

    async def delete(
        self, key: str, *, expected: Version | None = None, ack: Ack | None = None, request_id: bytes = b""
    ) -> Written:
        """Delete a key; one that does not exist is deleted all the same.

        `expected` makes the write conditional (see `Mutation`), and then it is always stored. `ack` is the least that
        an answer may mean; None: `default_ack`. A conditional write with a `request_id` (32 bytes, a digest of all that
        makes it the same request) that was answered before, by any node, gets that answer again.

        Raises:
            RequestError: the write can never succeed.
            UnsupportedError: there is a `request_id`, and the store does not remember any.
            ConditionFailedError: the key is at another version than expected; nothing was done.
            UnavailableError: `outcome` tells what became of the write.
        """
        return await self._write(key, None, JSON, None, expected, ack, request_id)

    async def restore(self, key: str, entry: Entry) -> Restored:
        """Write an entry that a key had once, at the version and with the end that it had, unless the store has a newer one.

        For whoever moves data or recovers it. It is stored when this returns, and doing it again is safe. What the cache has
        is brought in step; what it does not have stays out of it, since nobody has asked for it.

        Raises:
            RequestError: it can never succeed: it is a tombstone, its version lies in the future, or its end too far in it.
            UnavailableError: `outcome` tells what became of it.
        """
        self.bounds.check_key(key)
        self._check_restored(entry)
        self._clock.absorb(entry.version)  # what is written to the key from now on is newer
        if not entry.is_live(self._clock.now_ms()):
            return Restored(entry.version, "expired")
        try:
            async with asyncio.timeout(self._settings.limits.write_deadline_s):
                mutation = Mutation(key, entry, traceparent=ORIGIN.get().traceparent, restored=True)
                outcome = await self._write_path.send(mutation, "", accept=False)
        except TimeoutError:
            raise UnavailableError(
                "the entry got no answer in time; sending it again is safe", outcome="unknown"
            ) from None
        if outcome is None or outcome.verdict is Verdict.APPLIED:
            return Restored(entry.version, "restored")
        if outcome.verdict is Verdict.REJECTED:
            raise RejectedError(f"the store refuses this entry: {outcome.reason}")
        return Restored(outcome.version, "newer")  # and whether it was there before that does not matter

    def _check_restored(self, entry: Entry) -> None:
        if entry.value is None or entry.version <= NEVER:
            raise RequestError("what has no value or no version cannot be restored")
        self.bounds.check_value(entry.value)
        if version_ms(entry.version) > self._clock.now_ms():
            # It is not cached, so no other node would know of it, and what these accept from now on would be lost below it.
            raise RequestError(f"version {entry.version} lies in the future: restore it later, or is a clock wrong?")
        longest_ms = self._clock.now_ms() + 1000 * MAX_TTL_S
        if entry.expires_at_ms is not None and entry.expires_at_ms > longest_ms:
            raise RequestError(f"the entry ends more than {MAX_TTL_S} seconds from now")

    async def _write(
        self,
        key: str,
        value: bytes | None,
        media_type: str,
        ttl_s: int | None,
        expected: Version | None,
        ack: Ack | None,
        request_id: bytes,
    ) -> Written:
        self.bounds.check_key(key)
        if request_id:
            self._check_request(expected)
        accept = expected is None and self.accepts and (ack or self.default_ack) == "accepted"
        expires_at_ms = None if ttl_s is None else self._clock.now_ms() + 1000 * ttl_s
        try:
            async with asyncio.timeout(self._settings.limits.write_deadline_s):
                pause_s = _FIRST_POLL_S
                while True:
                    token = self._new_token()
                    seen = await self._write_path.reserve(key, token)
                    if seen is not None:
                        self._clock.absorb(seen)
                    condition = expected
                    if _is_past(seen, expected):
                        if not request_id:
                            raise await self._condition_failed(key, expected)
                        # It may be past it by this very request, sent before, which only the store knows.
                        condition = NEVER
                    entry = Entry(self._clock.stamp(), value, media_type, expires_at_ms)
                    mutation = Mutation(key, entry, condition, request_id, ORIGIN.get().traceparent)
                    outcome = await self._write_path.send(mutation, token, accept=accept)
                    if outcome is None:
                        return Written(entry.version, stored=False)
                    if not self._must_repeat(mutation, outcome, seen):
                        return self._answer(mutation, outcome, expected)
                    # The version seen is absorbed, and the write is stamped anew, above it.
                    self._writes.retries.inc()
                    self._clock.absorb(outcome.version)
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_POLL_S)
        except TimeoutError:
            again = _sending_it_again(expected, request_id)
            raise UnavailableError(f"the write got no answer in time; {again}", outcome="unknown") from None

    def _must_repeat(self, mutation: Mutation, outcome: Outcome, seen: Version | None) -> bool:
        """Tell whether the outcome is due to clocks or to lag, and not to what other writers did on purpose.

        `seen` is the version that the cache had when the write began.
        """
        if outcome.verdict is Verdict.SUPERSEDED:
            # A plain write that a later one of this very clock overtook was overwritten, as if it had come in time. A
            # version of another clock may be one that is ahead; and whether a condition held at the time cannot be told
            # any more.
            return mutation.expected is not None or not self._clock.stamped(outcome.version)
        # The expected version was accepted, as the cache shows, and the store does not have it yet.
        return outcome.verdict is Verdict.CONFLICT and mutation.expected == seen and outcome.version < (seen or ZERO)

    @staticmethod
    def _answer(mutation: Mutation, outcome: Outcome, expected: Version | None) -> Written:
        if outcome.verdict is Verdict.CONFLICT:
            # The store may be behind what the cache has shown: the expected version is not the one to go on with.
            version = outcome.version if outcome.exists and outcome.version != expected else None
            now = f"it has version {version}" if version else "it does not exist, or is past the version expected"
            raise ConditionFailedError(f"the key is not as the condition wants it: {now}", version=version)
        if outcome.verdict is Verdict.REJECTED:
            raise RejectedError(f"the store refuses this write: {outcome.reason}")
        if outcome.verdict is Verdict.UNKNOWN:
            raise UnavailableError("the write was repeated on its way and may have been applied and overwritten since")
        return Written(outcome.version if mutation.request_id else mutation.version, stored=True)

    async def _condition_failed(self, key: str, expected: Version | None) -> ConditionFailedError:
        entry = await self._read_path.cached(key)
        return ConditionFailedError(
            f"the key is not as the condition wants it: it is past version {expected}",
            version=entry.version if entry is not None and entry.is_live(self._clock.now_ms()) else None,
        )

    # --- small things -------------------------------------------------------------------------------------------------

    def _new_token(self) -> str:
        return f"{self._clock.tag}{next(self._tokens):x}"

    def _check_request(self, expected: Version | None) -> None:
        if expected is None:
            raise RequestError("an Idempotency-Key goes with a condition: a plain write may be sent again as it is")
        if Ability.IDEMPOTENCY not in self._store.abilities:
            raise UnsupportedError(
                f"{type(self._store).__name__} does not remember requests: leave out Idempotency-Key"
            )


def _is_past(seen: Version | None, expected: Version | None) -> bool:
    """Tell whether the cache shows that the version which a write expects is not the newest."""
    return seen is not None and expected is not None and expected not in (ZERO, PRESENT) and seen > expected


def _sending_it_again(expected: Version | None, request_id: bytes) -> str:
    """Say what to do about a write that may have been done: where it has a condition, it might fail by what it did itself."""
    if expected is None:
        return "sending it again is safe"
    if request_id:
        return "sending it again with the same Idempotency-Key is safe"
    return "read the key before sending it again"


def _asked_nothing(call: Callable[[], Awaitable[T]]) -> Callable[[None], Awaitable[T]]:
    """Give a call without an argument the shape that a guard needs."""

    async def asked(_: None) -> T:
        return await call()

    return asked
