"""The store "sqlite", and how a write reaches the disk.

Rows are written on the thread of the event loop, and only COMMIT runs on a thread of its own. The obvious way, all of a
transaction on the thread, is slow just when it matters: the driver gives up the interpreter's lock in each step and
must get it back, which takes milliseconds while the loop is busy (see `disk_thread`), for each row of a batch. Writing
a row is work in memory alone (some microseconds; nothing is spilled to disk before the commit). A commit waits for the
disk, and now and then moves the log into the database file.

One transaction is under way at a time. Between the first row and the start of the commit nothing is awaited, and a
commit that has started ends on its own thread, whoever stops waiting for it: a transaction is never left open. What
arrives meanwhile waits, and goes into the next.

Reads have a connection of their own, which sees what is committed. They run on the loop too: they take some
microseconds a key, and an answer from a thread a hundred.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import apsw
import msgspec

from kvcore.backends import MAX_KEY_BYTES, Ability, Limits, Listed, Purged, Scanned, StoreStats
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version, is_final, judge
from kvcore_store_sqlite.database import Database
from kvcore_store_sqlite.disk_thread import DiskThread
from kvcore_store_sqlite.keyrange import key_range
from kvcore_store_sqlite.settings import SqliteSettings
from kvcore_store_sqlite.sql import migrations, statement
from kvcore_store_sqlite.translating import translating, unavailable

__all__ = ("SqliteStore", "open_sqlite")

_LIMITS: Final = Limits(max_key_bytes=MAX_KEY_BYTES, max_value_bytes=64 << 20)
_PROOF_S: Final = 1.0
"""How long a commit is proof that the store can write."""
_MOST_LOOKED_AT: Final = 4_000
"""How many keys one call of `scan` looks at: some milliseconds' worth, in which the event loop does nothing else."""
_OUTCOMES: Final = msgspec.json.Decoder(Outcome)

Row = tuple[str, Version, bytes | None, str, int | None, Version | None, int]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def open_sqlite(settings: SqliteSettings) -> AsyncIterator[SqliteStore]:
    """Open the database and yield the store.

    Raises:
        SettingsError: the path cannot be used.
    """
    store = SqliteStore(Database(Path(settings.path)))
    try:
        yield store
    finally:
        await store.aclose()


class SqliteStore:
    """The entries at rest in one SQLite file: see `kvcore.backends.Store`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.DURABLE, Ability.LISTING, Ability.IDEMPOTENCY})

    def __init__(self, database: Database, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._database = database
        self._writer = database.writer
        self._reader = database.reader
        self._now_ms = now_ms
        self._thread = DiskThread()
        self._committed_at = float("-inf")
        self._closed = False

    @property
    def limits(self) -> Limits:
        """The largest key, and a value that fits into memory a few times over."""
        return _LIMITS

    async def aclose(self) -> None:
        """Close, after the commit that may be under way. May be repeated."""
        if self._closed:
            await self._thread.turn()
            return
        self._closed = True
        self._reader.close()
        try:
            await self._thread.run(self._close)
        finally:
            self._thread.shutdown()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """Return what is held for each key."""
        with translating(unavailable("not-applied")):
            found = _held(self._reader, keys)
        return [found.get(key) for key in keys]

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        """Return up to `limit` keys that exist now, of the next so many that there are or were."""
        start, stop = key_range(prefix, after)
        now, most = self._now_ms(), max(limit, _MOST_LOOKED_AT) + 1
        bindings = {"start": start, "stop": stop, "most": most}
        listed: list[Listed] = []
        with translating(unavailable("not-applied")):
            for number, row in enumerate(self._reader.execute(statement("scan"), bindings), start=1):
                if len(listed) == limit or number == most:
                    return Scanned(listed, after)
                after, _, size_bytes, _, expires_at_ms = row
                if size_bytes is not None and (expires_at_ms is None or expires_at_ms > now):
                    listed.append(Listed(*row))
        return Scanned(listed, None)

    async def stats(self) -> StoreStats:
        """Return the size of the database file; which version is the newest would take a walk through all of it."""
        with translating(unavailable("not-applied")):
            return StoreStats(size_bytes=self._reader.pragma("page_count") * self._reader.pragma("page_size"))

    # --- writing ------------------------------------------------------------------------------------------------------

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Apply mutations in one transaction; it is on the disk when this returns."""
        await self._turn()
        with translating(unavailable("not-applied")):
            outcomes, changed = self._write(mutations)
        if changed:
            await self._thread.run(self._commit)
        return outcomes

    async def purge(self, before: Version, limit: int) -> Purged:
        """Remove up to `limit` tombstones, expired entries and outcomes, on the writer's thread."""
        await self._turn()
        removed = await self._thread.run(partial(self._purge, before, limit))
        return Purged(removed, more=removed == limit)

    async def ping(self) -> str:
        """Read, and return if a commit has succeeded within the last second; else make one, of nothing new."""
        await self.stats()
        if not self._database.is_in_place():
            raise unavailable("not-applied")("the database file was removed or replaced; stop the node and put it back")
        if time.monotonic() - self._committed_at > _PROOF_S:
            await self._turn()
            await self._thread.run(self._prove)
        return f"SQLite {apsw.sqlite_lib_version()}"

    async def _turn(self) -> None:
        """Wait for the turn to write: see `DiskThread.turn`."""
        await self._thread.turn()
        if self._closed:
            raise unavailable("not-applied")("it has been closed")

    # --- on the event loop's thread, in the caller's turn -------------------------------------------------------------

    def _write(self, mutations: Sequence[Mutation]) -> tuple[list[Outcome], bool]:
        """Write rows in a new transaction. It stays open if it changed anything, as the second item tells."""
        now = self._now_ms()
        self._writer.execute("BEGIN IMMEDIATE")
        changed = False
        try:
            answers = self._answers([mutation.request_id for mutation in mutations if mutation.request_id])
            written = self._upsert((one for one in mutations if one.request_id not in answers), now)
            held = _held(self._writer, [mutation.key for mutation in mutations if mutation.key not in written])
            outcomes = [
                answers.get(mutation.request_id)
                or (_written(mutation, now) if mutation.key in written else _unwritten(mutation, held, now))
                for mutation in mutations
            ]
            remembered = self._remember(mutations, outcomes, answers)
            changed = bool(written) or remembered
        finally:
            if not changed:
                self._roll_back()
        return outcomes, changed

    def _upsert(self, mutations: Iterable[Mutation], now: int) -> set[str]:
        """Write what may be written; return the keys of that."""
        upserts: list[Row] = []
        updates: list[Row] = []
        for mutation in mutations:
            if not _too_large(mutation):
                absent = mutation.expected is None or mutation.expected == ZERO
                (upserts if absent else updates).append(_row(mutation, now))
        written = {key for (key,) in self._writer.executemany(statement("upsert"), upserts)}
        if updates:
            written.update(key for (key,) in self._writer.executemany(statement("update"), updates))
        return written

    def _answers(self, request_ids: Sequence[bytes]) -> dict[bytes, Outcome]:
        """Return the outcomes of those requests that were answered before."""
        if not request_ids:
            return {}
        rows = self._writer.execute(statement("answers"), (apsw.carray(tuple(request_ids)),))
        return {request_id: _OUTCOMES.decode(outcome) for request_id, outcome in rows}

    def _remember(self, mutations: Sequence[Mutation], outcomes: Sequence[Outcome], known: Collection[bytes]) -> bool:
        """Keep the final outcomes of requests that were not `known`; tell whether there were any."""
        rows = [
            (mutation.request_id, _written_ms(mutation.version), msgspec.json.encode(outcome).decode())
            for mutation, outcome in zip(mutations, outcomes, strict=True)
            if mutation.request_id and mutation.request_id not in known and is_final(mutation, outcome)
        ]
        if rows:
            self._writer.executemany(statement("answer"), rows)
        return bool(rows)

    # --- on either, but only in turn ----------------------------------------------------------------------------------

    def _roll_back(self) -> None:
        if self._writer.in_transaction:  # some failures have done so already
            self._writer.execute("ROLLBACK")

    # --- on the writer's thread ---------------------------------------------------------------------------------------

    def _commit(self) -> None:
        with translating(unavailable("unknown")):
            try:
                self._writer.execute("COMMIT")
            except BaseException:
                self._committed_at = float("-inf")
                self._roll_back()
                raise
        self._committed_at = time.monotonic()

    def _purge(self, before: Version, limit: int) -> int:
        before_ms, removed = _written_ms(before), 0
        with translating(unavailable("unknown")), self._writer:
            for name in ("purge", "purge_answered"):
                bindings = {"before": before[:12], "before_ms": before_ms, "limit": limit - removed}
                self._writer.execute(statement(name), bindings)
                removed += self._writer.changes()
        return removed

    def _prove(self) -> None:
        with translating(unavailable("not-applied")):
            self._writer.pragma("user_version", len(migrations()))
        self._committed_at = time.monotonic()

    def _close(self) -> None:
        with translating(unavailable("unknown")):
            self._database.close()


def _held(connection: apsw.Connection, keys: Sequence[str]) -> dict[str, Entry]:
    """Return the entries of those keys that have one, as of one moment."""
    if not keys:  # which the driver does not take
        return {}
    rows = connection.execute(statement("get"), (apsw.carray(tuple(keys)),))
    return {key: Entry(*entry) for key, *entry in rows}


def _row(mutation: Mutation, now: int) -> Row:
    entry = mutation.entry
    return (
        mutation.key,
        entry.version,
        entry.value,
        entry.media_type,
        entry.expires_at_ms,
        mutation.expected,
        now,
    )


def _written_ms(version: Version) -> int:
    return int(version[:12], 16)


def _too_large(mutation: Mutation) -> str:
    """Say why a mutation is refused; nothing: it is not."""
    if len(mutation.entry.value or b"") > _LIMITS.max_value_bytes:
        return f"the value is larger than {_LIMITS.max_value_bytes} bytes"
    key = mutation.key
    if len(key) * 4 > _LIMITS.max_key_bytes and len(key.encode()) > _LIMITS.max_key_bytes:
        return f"the key is longer than {_LIMITS.max_key_bytes} bytes"
    return ""


def _written(mutation: Mutation, now: int) -> Outcome:
    return Outcome(Verdict.APPLIED, mutation.version, mutation.entry.is_live(now))


def _unwritten(mutation: Mutation, entries: Mapping[str, Entry], now: int) -> Outcome:
    """Say what became of a mutation for which nothing was written, on what is held."""
    held = entries.get(mutation.key)
    if why := _too_large(mutation):
        exists = held is not None and held.is_live(now)
        return Outcome(Verdict.REJECTED, ZERO if held is None else held.version, exists, why)
    return judge(mutation, held, now)
