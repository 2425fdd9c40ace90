"""Entries come back as they were, and never in place of newer ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kvcore.clock import version_at
from kvcore.errors import RejectedError, RequestError, UnavailableError, ValueTooLargeError
from kvcore.metrics import Metrics
from kvcore.model import NEVER, ZERO, Entry, Version
from kvcore.service import MAX_TTL_S, Restored
from kvcore.slots import Lease, Slot
from tests.unit.core.fakes import EPOCH_MS, loop_ms
from tests.unit.core.stage import Stage

OLD = version_at(EPOCH_MS - 86_400_000)
OLDER = version_at(EPOCH_MS - 2 * 86_400_000)


@asynccontextmanager
async def stage_of(*, with_queue: bool) -> AsyncIterator[Stage]:
    """Give a stage with a running worker, where there is a queue for it."""
    stage = Stage(with_queue=with_queue)
    async with stage.working():
        yield stage


@pytest.mark.parametrize("with_queue", [True, False])
async def test_an_entry_comes_back_as_it_was(with_queue: bool) -> None:
    """It has the version, the bytes, the media type and the end that it had, through the queue and without one."""
    entry = Entry(OLD, b"\x00\xff", "image/png", EPOCH_MS + 3_600_000)
    async with stage_of(with_queue=with_queue) as stage:
        assert await stage.service.restore("key", entry) == Restored(OLD, "restored")
        assert stage.store.entries == {"key": entry}
        assert (await stage.service.get("key")).entry == entry


@pytest.mark.parametrize("with_queue", [True, False])
async def test_what_is_newer_stays(with_queue: bool) -> None:
    """The store keeps a value or a delete that is newer, and the answer has its version."""
    async with stage_of(with_queue=with_queue) as stage:
        value = await stage.service.put("value", b"new", ack="stored")
        gone = await stage.service.delete("gone", ack="stored")
        for key, written in (("value", value), ("gone", gone)):
            assert await stage.service.restore(key, Entry(OLD, b"old")) == Restored(written.version, "newer")
            assert stage.store.entries[key].version == written.version


async def test_to_restore_again_is_safe() -> None:
    """The same entry is restored a second time with the same answer, and nothing has changed."""
    async with stage_of(with_queue=False) as stage:
        answers = [await stage.service.restore("key", Entry(OLD, b"value")) for _ in range(2)]
        assert answers == [Restored(OLD, "restored")] * 2
        assert len(stage.store.history) == 1


async def test_what_is_over_is_not_written() -> None:
    """An entry whose end has passed is told to be expired, and the store is not asked."""
    async with stage_of(with_queue=False) as stage:
        entry = Entry(OLD, b"value", expires_at_ms=EPOCH_MS)
        assert await stage.service.restore("key", entry) == Restored(OLD, "expired")
        assert not stage.store.faults.calls["apply"]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(OLD),
        Entry(ZERO, b"value"),
        Entry(NEVER, b"value"),
        Entry(version_at(EPOCH_MS + 30_000), b"value"),
        Entry(OLD, b"value", expires_at_ms=EPOCH_MS + 1000 * MAX_TTL_S + 60_000),
    ],
    ids=["a delete", "no version", "the version that no key has", "a version from the future", "an end too far away"],
)
async def test_what_cannot_have_been_is_refused(entry: Entry) -> None:
    """No node has given such an entry: it is refused with nothing done, and the clock stays where it was."""
    async with stage_of(with_queue=False) as stage:
        with pytest.raises(RequestError):
            await stage.service.restore("key", entry)
        assert not stage.store.entries
        written = await stage.service.put("key", b"value")
        assert written.version < version_at(loop_ms() + 1)


async def test_the_limits_of_keys_and_values_hold() -> None:
    """What could not be written cannot be restored."""
    async with stage_of(with_queue=False) as stage:
        with pytest.raises(ValueTooLargeError):
            await stage.service.restore("key", Entry(OLD, bytes(stage.service.bounds.limits.max_value_bytes + 1)))
        with pytest.raises(RequestError):
            await stage.service.restore("k\0y", Entry(OLD, b"value"))


async def test_a_later_write_is_newer_than_what_was_restored() -> None:
    """A version of this very millisecond is taken note of, so that the next write, which is only accepted, is not lost below it."""
    async with stage_of(with_queue=True) as stage:
        latest = Version(f"{loop_ms():012x}fff000000000")
        await stage.service.restore("key", Entry(latest, b"restored"))
        written = await stage.service.put("key", b"written", ack="accepted")
        assert written.version > latest
        await stage.drained()
        assert stage.store.entries["key"].value == b"written"


@pytest.mark.parametrize("with_queue", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        (Entry(ZERO), None),
        (Entry(OLDER, b"older"), None),
        (Entry(OLD, b"as the store has had it"), Entry(OLD, b"as the store has had it")),
        (Entry(version_at(EPOCH_MS), b"accepted, and on its way"), Entry(version_at(EPOCH_MS), b"accepted, and on its way")),
        (Lease("a reader's, who may have read the store before"), None),
    ],
    ids=["absent", "known not to exist", "older", "the same", "newer", "lease"],
)  # fmt: skip
async def test_the_cache_is_brought_in_step(with_queue: bool, before: Slot, after: Slot) -> None:
    """The cache loses what is older than the restored entry, and what it does not have is left out of it."""
    async with stage_of(with_queue=with_queue) as stage:
        if before is not None:
            stage.cache.slots["key"] = (before, 1 << 60)
        await stage.service.restore("key", Entry(OLD, b"restored"))
        assert stage.cache.slot("key") == after


async def test_entries_that_come_together_cost_one_call_to_the_store() -> None:
    """A thousand at once are one bulk call, and each has an outcome of its own although they share a version."""
    async with stage_of(with_queue=False) as stage:
        newer = await stage.service.put("500", b"newer", ack="stored")
        calls = stage.store.faults.calls["apply"]
        answers = await asyncio.gather(*(stage.service.restore(str(n), Entry(OLD, b"value")) for n in range(1000)))
        assert stage.store.faults.calls["apply"] == calls + 1
        assert answers.pop(500) == Restored(newer.version, "newer")
        assert answers == [Restored(OLD, "restored")] * 999


async def test_while_the_queue_is_down_the_store_is_asked() -> None:
    """A restore is a stored write: without the queue it goes to the store at once."""
    async with stage_of(with_queue=True) as stage:
        stage.fail(queue="before")
        assert await stage.service.restore("key", Entry(OLD, b"value")) == Restored(OLD, "restored")
        assert stage.store.entries["key"].version == OLD


@pytest.mark.parametrize(("fault", "outcome"), [("before", "not-applied"), ("after", "unknown"), ("hang", "unknown")])
async def test_a_store_that_is_down_is_told_of(fault: str, outcome: str) -> None:
    """The error says whether the entry may be there all the same."""
    async with stage_of(with_queue=False) as stage:
        stage.fail(store=fault)  # type: ignore[arg-type]  # one of the faults above
        with pytest.raises(UnavailableError) as failure:
            await stage.service.restore("key", Entry(OLD, b"value"))
        assert failure.value.outcome == outcome


async def test_what_the_store_refuses_is_refused() -> None:
    """The reason of the store is in the error."""
    async with stage_of(with_queue=False) as stage:
        stage.store.poison.add(b"poison")
        with pytest.raises(RejectedError, match="poison"):
            await stage.service.restore("key", Entry(OLD, b"poison"))


async def test_an_old_version_is_no_lag() -> None:
    """A worker that applies restored entries does not show days of lag; ordinary writes beside them count."""
    stage = Stage()
    metrics = Metrics()
    async with stage.working(metrics=metrics, now_ms=loop_ms):
        await asyncio.gather(
            stage.service.restore("old", Entry(OLD, b"value")), stage.service.put("new", b"value", ack="stored")
        )
    assert stage.store.entries.keys() == {"old", "new"}
    assert metrics.registry.get_sample_value("kvcore_lag_seconds_count") == 1
    assert (metrics.registry.get_sample_value("kvcore_lag_seconds_sum") or 0) < 1
