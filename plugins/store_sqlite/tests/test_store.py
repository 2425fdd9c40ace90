"""What the conformance suite cannot see: transactions, failures of the disk, cancellation."""

from __future__ import annotations

import asyncio
import itertools
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from kvcore.errors import UnavailableError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version, judge
from kvcore.testing import eventually
from kvcore_store_sqlite import SqliteSettings, SqliteStore, open_sqlite
from kvcore_store_sqlite import store as module
from kvcore_store_sqlite.database import Database

NOW = 1_000_000  # the clock of the fixture `store`


def version(number: int) -> Version:
    """Return a version by its place in the order."""
    return Version(f"{number:024x}")


def put(key: str, number: int = 1, value: bytes = b"value") -> Mutation:
    """Return a plain write."""
    return Mutation(key, Entry(version(number), value))


HELD = {
    "nothing": None,
    "value": Entry(version(5), b"held"),
    "empty-value": Entry(version(5), b""),
    "lasting-value": Entry(version(5), b"held", expires_at_ms=NOW + 1),
    "expired-value": Entry(version(5), b"held", expires_at_ms=NOW),
    "tombstone": Entry(version(5)),
}
WRITTEN = [Entry(version(number), value) for number in (4, 5, 6) for value in (b"new", b"", None)]
EXPECTED = [None, ZERO, PRESENT, version(4), version(5), version(6)]


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
async def test_the_statements_decide_as_the_model_does(store: SqliteStore, held: Entry | None) -> None:
    """For every held entry, version and condition the outcome is that of `judge`, and just what it applies is written."""
    for number, (entry, expected) in enumerate(itertools.product(WRITTEN, EXPECTED)):
        key = f"key {number}"
        if held is not None:
            await store.apply([Mutation(key, held)])
        mutation = Mutation(key, entry, expected)
        outcome = judge(mutation, held, NOW)
        assert list(await store.apply([mutation])) == [outcome], mutation
        applied = outcome.verdict is Verdict.APPLIED and (held is None or held.version != entry.version)
        assert list(await store.get([key])) == [entry if applied else held], mutation


async def test_what_is_too_large_is_rejected_and_the_rest_applied(store: SqliteStore) -> None:
    """A mutation beyond the limits is told why, with what is held; its neighbours are applied."""
    limits = store.limits
    long_key = "é" * (limits.max_key_bytes // 2) + "x"
    await store.apply([put("held")])
    large, long, fine, longest = await store.apply(
        [put("held", 2, bytes(limits.max_value_bytes + 1)), put(long_key), put("fine"), put(long_key[:-1])]
    )
    assert large == Outcome(
        Verdict.REJECTED, version(1), exists=True, reason=f"the value is larger than {limits.max_value_bytes} bytes"
    )
    assert long == Outcome(Verdict.REJECTED, reason=f"the key is longer than {limits.max_key_bytes} bytes")
    assert fine.verdict is longest.verdict is Verdict.APPLIED
    assert list(await store.get(["held", "fine"])) == [put("held").entry, put("fine").entry]


async def test_the_largest_value_is_kept(store: SqliteStore) -> None:
    """A value at the limit comes back as it was."""
    mutation = put("key", value=b"x" * store.limits.max_value_bytes)
    (outcome,) = await store.apply([mutation])
    assert outcome.verdict is Verdict.APPLIED
    assert list(await store.get(["key"])) == [mutation.entry]


async def test_purges_what_died_before_a_time_and_nothing_else(store: SqliteStore) -> None:
    """Tombstones written, and values expired, before the time go, up to the limit; what is younger or alive stays."""

    def at(ms: int) -> Version:
        return Version(f"{ms:012x}" + "f" * 12)

    entries = {
        "old tombstone": Entry(at(99)),
        "young tombstone": Entry(at(100)),
        "old value": Entry(at(1), b"value"),
        "value that expired early": Entry(at(1), b"value", expires_at_ms=99),
        "value that expired late": Entry(at(1), b"value", expires_at_ms=100),
    }
    await store.apply([Mutation(key, entry) for key, entry in entries.items()])
    before = Version(f"{100:012x}" + "0" * 12)
    assert [(await store.purge(before, 1)).removed for _ in range(3)] == [1, 1, 0]
    left = [key for key, entry in zip(entries, await store.get(list(entries)), strict=True) if entry is not None]
    assert left == ["young tombstone", "old value", "value that expired late"]


# --- listing ----------------------------------------------------------------------------------------------------------


async def test_a_listing_looks_at_so_many_keys_at_a_time(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many deleted keys there are, the event loop is held for no more than a number of them, unless more are asked for."""
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 3)
    await store.apply([Mutation(f"{number}", Entry(version(1))) for number in range(7)])
    await store.apply([put(key) for key in ("7", "8", "9")])
    first, second = await store.scan("", None, 2), await store.scan("", "2", 2)
    assert [(found.listed, found.after) for found in (first, second)] == [([], "2"), ([], "5")]
    third = await store.scan("", "5", 2)
    assert ([line.key for line in third.listed], third.after) == (["7", "8"], "8")
    whole = await store.scan("", None, 20)
    assert ([line.key for line in whole.listed], whole.after) == (["7", "8", "9"], None)


# --- requests ---------------------------------------------------------------------------------------------------------


def create(key: str, number: int = 1) -> Mutation:
    """Return one stamp of the request to create a key."""
    return Mutation(key, Entry(version(number), b"created"), ZERO, f"create {key}".encode())


async def test_an_answer_is_kept_in_the_commit_of_its_write(store: SqliteStore, database: Database) -> None:
    """A request costs one commit, whether it is applied or in conflict, and none when it comes again."""
    gate = Gate(database, is_open=True)
    await store.apply([create("a"), put("b")])
    assert gate.commits == 1
    await store.apply([create("a", 2)])
    assert gate.commits == 1
    conflict = await store.apply([create("b", 3)])
    assert gate.commits == 2
    assert await store.apply([create("b", 4)]) == conflict
    assert gate.commits == 2


async def test_what_could_not_be_committed_is_not_answered(store: SqliteStore, path: Path) -> None:
    """When the disk refuses the commit of a request, it is not remembered either: sent again it is applied."""
    await store.apply([put("key")])
    with full_disk(path), pytest.raises(UnavailableError, match="disk"):
        await store.apply([create("new"), put("large", 2, bytes(10_000))])
    assert list(await store.apply([create("new", 3)])) == [Outcome(Verdict.APPLIED, version(3), True)]
    assert list(await store.get(["new"])) == [create("new", 3).entry]


# --- transactions -----------------------------------------------------------------------------------------------------


class Gate:
    """Holds commits back, on the writer's thread, until it is opened; counts those that came."""

    def __init__(self, database: Database, *, is_open: bool = False) -> None:
        self.commits = 0
        self._opened = threading.Event()
        if is_open:
            self.open()
        database.writer.set_commit_hook(self._commit)

    def open(self) -> None:
        """Let commits through."""
        self._opened.set()

    def _commit(self) -> bool:
        self.commits += 1
        return not self._opened.wait(30)

    async def reached(self) -> None:
        """Wait until a commit stands before the gate."""

        async def arrived() -> int:
            return self.commits

        await eventually(arrived, what="the commit")


async def test_what_changes_nothing_costs_no_commit(store: SqliteStore, database: Database) -> None:
    """A batch that comes again is answered without writing to the disk."""
    gate = Gate(database, is_open=True)
    first = await store.apply([put("a"), put("b")])
    again = await store.apply([put("a"), put("b")])
    assert first == again
    assert gate.commits == 1


async def test_reads_go_on_while_a_commit_waits(store: SqliteStore, database: Database) -> None:
    """While a commit is under way, what was committed before is read; afterwards, what it brought."""
    await store.apply([put("key", 1)])
    gate = Gate(database)
    apply = asyncio.create_task(store.apply([put("key", 2)]))
    await gate.reached()
    assert list(await store.get(["key"])) == [put("key", 1).entry]
    gate.open()
    await apply
    assert list(await store.get(["key"])) == [put("key", 2).entry]


async def test_one_who_is_cancelled_leaves_the_commit_to_its_end(store: SqliteStore, database: Database) -> None:
    """Cancelling an apply whose commit is under way leaves no transaction open: it is kept, and the next goes on."""
    gate = Gate(database)
    apply = asyncio.create_task(store.apply([put("a")]))
    await gate.reached()
    apply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await apply
    following = asyncio.create_task(store.apply([put("b")]))
    await asyncio.sleep(0)
    assert not following.done()
    gate.open()
    await following
    assert list(await store.get(["a", "b"])) == [put("a").entry, put("b").entry]


async def test_one_who_is_cancelled_before_its_turn_has_done_nothing(store: SqliteStore, database: Database) -> None:
    """Cancelling an apply that waits for another's commit takes it back."""
    gate = Gate(database)
    first = asyncio.create_task(store.apply([put("a")]))
    await gate.reached()
    second = asyncio.create_task(store.apply([put("b")]))
    await asyncio.sleep(0)
    second.cancel()
    gate.open()
    await asyncio.wait([first, second])
    assert second.cancelled()
    assert list(await store.get(["a", "b"])) == [put("a").entry, None]


async def test_closing_waits_for_the_commit_under_way(path: Path, store: SqliteStore, database: Database) -> None:
    """What is being committed when the store closes is kept, however often it is closed; what comes later is refused."""
    gate = Gate(database)
    apply = asyncio.create_task(store.apply([put("key")]))
    await gate.reached()
    closings = [asyncio.create_task(store.aclose()) for _ in range(2)]
    late = asyncio.create_task(store.apply([put("late")]))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(apply, *closings)
    with pytest.raises(UnavailableError, match="closed") as refused:
        await late
    assert refused.value.outcome == "not-applied"
    async with open_sqlite(SqliteSettings(path=str(path))) as again:
        assert list(await again.get(["key", "late"])) == [put("key").entry, None]


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.get(["key"]),
        lambda store: store.scan("", None, 1),
        lambda store: store.apply([put("key")]),
        lambda store: store.purge(version(1), 1),
        lambda store: store.stats(),
        lambda store: store.ping(),
    ],
    ids=["get", "scan", "apply", "purge", "stats", "ping"],
)
async def test_a_closed_store_refuses_everything(store: SqliteStore, use: Callable[[SqliteStore], object]) -> None:
    """After closing, every method says that the store is closed, and that nothing was done."""
    await store.aclose()
    with pytest.raises(UnavailableError, match="closed") as refused:
        await use(store)  # type: ignore[misc]  # each is a coroutine, of various results
    assert refused.value.outcome == "not-applied"


# --- failures ---------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the present size of the log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_fails_may_have_happened(store: SqliteStore, path: Path) -> None:
    """When the disk refuses a commit the outcome is unknown, what was there stays, and the store works again afterwards."""
    await store.apply([put("key", 1)])
    with full_disk(path):
        with pytest.raises(UnavailableError, match="disk") as failed:
            await store.apply([put("key", 2, bytes(10_000)), put("other")])
        assert failed.value.outcome == "unknown"
        assert list(await store.get(["key", "other"])) == [put("key", 1).entry, None]
        with pytest.raises(UnavailableError):
            await store.ping()
    await store.ping()
    await store.apply([put("key", 2), put("other")])
    assert list(await store.get(["key", "other"])) == [put("key", 2).entry, put("other").entry]


async def test_rows_that_find_no_room_are_not_applied(store: SqliteStore, database: Database) -> None:
    """When the database is full nothing of a batch is applied, and smaller ones still are."""
    await store.apply([put("a")])
    database.writer.pragma("max_page_count", database.writer.pragma("page_count") + 5)
    with pytest.raises(UnavailableError, match="the disk is full") as failed:
        await store.apply([put("a", 2), put("b", 2, bytes(100_000))])
    assert failed.value.outcome == "not-applied"
    assert list(await store.get(["a", "b"])) == [put("a").entry, None]
    await store.apply([put("b")])
    assert list(await store.get(["b"])) == [put("b").entry]


async def test_another_program_that_writes_is_not_waited_for(
    store: SqliteStore, database: Database, path: Path
) -> None:
    """While another program holds the database, a write fails at once instead of stopping the event loop."""
    assert database.writer.pragma("busy_timeout") == database.reader.pragma("busy_timeout") == 0
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another program") as failed:
            await store.apply([put("key")])
        assert failed.value.outcome == "not-applied"
        other.execute("ROLLBACK")
    await store.apply([put("key")])


async def test_a_purge_that_fails_leaves_the_store_usable(store: SqliteStore, path: Path) -> None:
    """When the disk refuses a purge nothing is removed, and it works afterwards."""
    await store.apply([Mutation(f"key {number}", Entry(version(1))) for number in range(100)])
    later = Version("f" * 24)
    with full_disk(path), pytest.raises(UnavailableError, match="disk"):
        await store.purge(later, 100)
    assert (await store.purge(later, 1000)).removed == 100


async def test_a_ping_proves_that_the_store_can_write(store: SqliteStore, database: Database) -> None:
    """A ping commits, unless another commit has just succeeded."""
    gate = Gate(database, is_open=True)
    await store.ping()
    await store.ping()
    assert gate.commits == 1


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_database_whose_file_was_removed_is_not_well(path: Path, replaced: bool) -> None:
    """Writes to a file that no name leads to are gone at the end, so the store says so as long as there is time."""
    async with open_sqlite(SqliteSettings(path=str(path))) as store:
        await store.ping()
        path.unlink()
        if replaced:
            path.touch()
        with pytest.raises(UnavailableError, match="removed or replaced"):
            await store.ping()
