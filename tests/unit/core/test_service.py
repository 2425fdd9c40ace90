"""The read and the write path, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from kvcore.backends import Channel, Message
from kvcore.errors import (
    ConditionFailedError,
    InvalidKeyError,
    KeyTooLongError,
    OverloadedError,
    RejectedError,
    RequestError,
    UnavailableError,
    ValueTooLargeError,
    VersionNotReachedError,
)
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Version
from kvcore.service import Found
from kvcore.settings import LimitSettings
from kvcore.slots import Lease
from tests.unit.core.stage import Stage, fate_of, settings_of


async def test_a_thousand_readers_of_one_missing_key_cost_the_store_one_read() -> None:
    """However they come, all at once or one after the other, on one node or several, a hot key is no flood for the store."""
    stage = Stage()
    nodes = [stage.service, stage.node()]

    async def read(number: int) -> Found:
        for _ in range(number % 4):
            await asyncio.sleep(0)
        return await nodes[number % 2].get("missing")

    found = await asyncio.gather(*map(read, range(1000)))
    assert all(one.entry is None for one in found)
    assert stage.store.faults.calls["get"] == 1


async def test_a_reader_does_not_wait_long_for_a_fill_that_never_comes() -> None:
    """Whoever has the lease may have died: the store is asked after a while, and what it has is the answer."""
    stage = Stage()
    await stage.store.apply([Mutation("key", Entry(Version("1" * 24), b"value"))])
    stage.cache.slots["key"] = (Lease("somebody dead"), 1 << 60)
    began = asyncio.get_running_loop().time()
    found = await stage.service.get("key")
    assert found.entry is not None
    assert 0.1 < asyncio.get_running_loop().time() - began < 0.5  # of virtual time


async def test_a_reader_takes_the_lease_over_that_was_dropped() -> None:
    """A worker drops the lease that a reader waits for: the reader fills the slot itself, without waiting any longer."""
    stage = Stage()
    stage.cache.slots["key"] = (Lease("a writer's"), 1 << 60)
    began = asyncio.get_running_loop().time()
    reading = asyncio.ensure_future(stage.service.get("key"))
    while not stage.cache.faults.calls["reserve"]:
        await asyncio.sleep(0)
    stage.cache.slots.clear()
    await reading
    assert asyncio.get_running_loop().time() - began < 0.1  # of virtual time
    assert stage.cache.slot("key") == Entry(ZERO)


async def test_a_missing_key_is_remembered_for_a_short_time() -> None:
    """The next reader of a key that does not exist does not ask the store; some time later one does."""
    stage = Stage()
    await stage.service.get("missing")
    assert (await stage.service.get("missing")).cache == "hit"
    await asyncio.sleep(stage.settings.cache.missing_ttl_s)
    assert (await stage.service.get("missing")).cache == "miss"


async def test_nobody_reads_what_the_queue_has_not_confirmed() -> None:
    """Until the confirm is there the cache shows the value before."""
    stage = Stage()
    await stage.service.put("key", b"old")
    stage.queue.faults.planned.append("hang")
    writing = asyncio.ensure_future(fate_of(stage.service.put("key", b"new")))
    await asyncio.sleep(0.01)
    found = await stage.service.get("key")
    assert found.entry is not None
    assert found.entry.value == b"old"
    await writing


async def test_an_accepted_write_is_read_before_the_worker_has_seen_it() -> None:
    """The cache shows what was accepted, for as long as it may take until the store has it."""
    stage = Stage()
    written = await stage.service.put("key", b"value", ack="accepted")
    assert not written.stored
    await asyncio.sleep(stage.settings.cache.ttl_s + 1)
    found = await stage.service.get("key", min_version=written.version)
    assert found.entry is not None
    assert found.entry.value == b"value"


async def test_a_fill_that_comes_too_late_is_left_out() -> None:
    """A reader whose lease was taken away meanwhile leaves the cache alone."""
    stage = Stage()
    stage.store.faults.planned.append(None)
    reading = asyncio.ensure_future(stage.service.get("key"))
    while not isinstance(stage.cache.slot("key"), Lease):
        await asyncio.sleep(0)
    stage.cache.slots["key"] = (Lease("somebody else"), 1 << 60)
    await reading
    assert stage.cache.slot("key") == Lease("somebody else")


async def test_only_the_holder_of_the_lease_fills() -> None:
    """A reader that was not granted the lease does not even try."""
    stage = Stage()
    stage.cache.slots["key"] = (Lease("somebody else"), 1 << 60)
    await stage.service.get("key")
    assert not stage.cache.faults.calls["install"]


async def test_min_version_waits_for_the_worker() -> None:
    """A read that must see a write waits until the store has it, and never answers anything older."""
    stage = Stage()
    written = await stage.service.put("key", b"value")
    stage.cache.slots.clear()
    with pytest.raises(VersionNotReachedError):
        await stage.service.get("key", min_version=written.version, wait_s=0.5)
    async with stage.working():
        found = await stage.service.get("key", min_version=written.version, wait_s=5)
    assert found.entry is not None
    assert found.entry.version == written.version


async def test_min_version_is_not_satisfied_by_an_older_entry_in_the_cache() -> None:
    """A stale hit is no hit."""
    stage = Stage(with_queue=False)
    old = await stage.service.put("key", b"old")
    stale = stage.cache.slots["key"]
    new = await stage.service.put("key", b"new")
    stage.cache.slots["key"] = stale
    found = await stage.service.get("key", min_version=new.version)
    assert found.cache == "stale"
    assert found.entry is not None
    assert found.entry.version == new.version > old.version


async def test_who_waits_for_a_version_leaves_room_for_others() -> None:
    """At most half of the requests that may be served at once wait for a version; one more is refused at once."""
    stage = Stage(settings=settings_of(limits=LimitSettings(concurrent_requests=4)))
    written = await stage.service.put("key", b"value")
    stage.cache.slots.clear()
    read = partial(stage.service.get, "key", min_version=written.version, wait_s=1e6)
    waiting = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.sleep(0.1)  # of virtual time
    with pytest.raises(OverloadedError):
        await asyncio.wait_for(read(), 1)
    async with stage.working():
        found = [await task for task in waiting]
    assert [one.entry and one.entry.version for one in found] == [written.version] * 2
    assert (await read()).entry


async def test_a_min_version_from_the_future_is_refused() -> None:
    """No node can have given it, so waiting for it would be in vain."""
    with pytest.raises(RequestError):
        await Stage().service.get("key", min_version=Version("f" * 24))


async def test_a_write_is_newer_than_what_a_node_with_a_fast_clock_has_written() -> None:
    """The slot shows the version to go above, so a slow clock does not lose a write."""
    stage = Stage()
    fast = stage.node(ahead_ms=30_000)
    first = await fast.put("key", b"first")
    second = await stage.service.put("key", b"second")
    assert second.version > first.version
    async with stage.working():
        await stage.drained()
    assert stage.store.entries["key"].value == b"second"


async def test_a_direct_write_goes_above_a_version_that_only_the_store_knows() -> None:
    """Where the cache has forgotten the newer version, the write is stamped anew and not lost."""
    stage = Stage(with_queue=False)
    await stage.node(ahead_ms=30_000).put("key", b"first")
    stage.cache.slots.clear()
    await stage.service.put("key", b"second")
    assert stage.store.entries["key"].value == b"second"


async def test_of_many_conditional_writes_on_one_version_one_wins() -> None:
    """Compare and set: one of fifty is stored, and the others learn which version there is."""
    stage = Stage()
    async with stage.working():
        first = await stage.service.put("key", b"0", ack="stored")
        writes = (stage.service.put("key", str(i).encode(), expected=first.version) for i in range(1, 51))
        results = await asyncio.gather(*writes, return_exceptions=True)
    failed = [result for result in results if isinstance(result, ConditionFailedError)]
    assert len(failed) == 49
    assert {error.version for error in failed} == {stage.store.entries["key"].version}


@pytest.mark.parametrize(
    ("before", "expected", "succeeds"),
    [(None, ZERO, True), (None, PRESENT, False), (b"value", ZERO, False), (b"value", PRESENT, True)],
)
@pytest.mark.parametrize("with_queue", [True, False])
async def test_conditions_on_existence(
    with_queue: bool, before: bytes | None, expected: Version, succeeds: bool
) -> None:
    """`ZERO` wants a key that does not exist, `PRESENT` one that does."""
    stage = Stage(with_queue=with_queue)
    async with stage.working():
        if before is not None:
            await stage.service.put("key", before, ack="stored")
        if succeeds:
            assert (await stage.service.put("key", b"new", expected=expected)).stored
        else:
            with pytest.raises(ConditionFailedError):
                await stage.service.put("key", b"new", expected=expected)


async def test_a_condition_on_an_accepted_write_waits_for_the_worker() -> None:
    """A client that read an accepted version may build on it, though the store does not have it yet."""
    stage = Stage()
    first = await stage.service.put("key", b"first", ack="accepted")
    stage.queue.faults.planned.append("before")  # the condition reaches the store before the write that it is about
    writing = asyncio.ensure_future(stage.service.put("key", b"second", expected=first.version))
    await asyncio.sleep(0.05)  # of virtual time
    async with stage.working():
        assert (await writing).stored
    assert stage.store.entries["key"].value == b"second"


async def test_an_expired_key_reads_as_missing_at_once() -> None:
    """Whatever is kept of it, from that millisecond on nobody sees it."""
    stage = Stage(with_queue=False)
    await stage.service.put("key", b"value", ttl_s=2)
    await asyncio.sleep(1.9)
    assert (await stage.service.get("key")).entry is not None
    await asyncio.sleep(0.1)  # of virtual time
    assert (await stage.service.get("key")).entry is None
    assert (await stage.service.get("key", from_store=True)).entry is None


async def test_a_write_that_the_store_rejects_says_so() -> None:
    """The reason of the store reaches whoever waits for it."""
    stage = Stage()
    stage.store.poison.add(b"poison")
    async with stage.working():
        with pytest.raises(RejectedError, match="poison"):
            await stage.service.put("key", b"poison", ack="stored")


@pytest.mark.parametrize(
    ("key", "error"),
    [("", InvalidKeyError), ("a\0b", InvalidKeyError), ("\ud800", InvalidKeyError), ("a" * 65_537, KeyTooLongError),
     ("\u20ac" * 21_846, KeyTooLongError)],
    ids=["empty", "NUL", "half a surrogate", "long", "long in UTF-8"],
)  # fmt: skip
async def test_a_key_that_cannot_be_one_is_refused(key: str, error: type[Exception]) -> None:
    """It is refused on every path before any tier is asked."""
    stage = Stage()
    for asked in (stage.service.get(key), stage.service.put(key, b""), stage.service.delete(key)):
        with pytest.raises(error):
            await asked
    assert not stage.cache.faults.calls + stage.store.faults.calls + stage.queue.faults.calls


async def test_the_longest_key_and_the_largest_value_are_taken() -> None:
    """The limits themselves are within the limits; one more byte is not."""
    stage = Stage(with_queue=False)
    largest = stage.service.bounds.limits.max_value_bytes
    await stage.service.put("k" * 65_536, b"x" * largest)
    with pytest.raises(ValueTooLargeError) as refused:
        await stage.service.put("key", b"x" * (largest + 1))
    assert refused.value.limit_bytes == largest


@pytest.mark.parametrize("ttl_s", [0, -1, 10**12])
async def test_a_lifetime_that_makes_no_sense_is_refused(ttl_s: int) -> None:
    """A ttl is at least a second, and at most a century."""
    with pytest.raises(RequestError):
        await Stage().service.put("key", b"value", ttl_s=ttl_s)


async def test_deleting_what_is_not_there_succeeds() -> None:
    """A delete is idempotent, and gives a version of its own each time."""
    stage = Stage(with_queue=False)
    first, second = await stage.service.delete("key"), await stage.service.delete("key")
    assert second.version > first.version
    assert (await stage.service.get("key")).entry is None


@pytest.mark.parametrize("conditional", [False, True])
async def test_a_write_that_may_have_had_its_effect_is_not_repeated_over_a_newer_one(conditional: bool) -> None:
    """A publish whose confirm is lost is applied by a worker and then overwritten: it is not stamped anew above that."""
    stage = Stage()
    async with stage.working():
        before = await stage.service.put("key", b"0", ack="stored")
    put = stage.queue._put

    def put_and_work(channel: Channel, place: int, messages: Sequence[Message]) -> None:
        put(channel, place, messages)
        (message,) = stage.queue.waiting["writes"]
        stage.queue.waiting["writes"].clear()
        stage.store._apply(message.mutation)
        newer = Version(f"{int(message.mutation.version[:16], 16) + 1:016x}ffffffff")
        stage.store._apply(Mutation("key", Entry(newer, b"2")))

    stage.queue._put = put_and_work  # type: ignore[method-assign]  # a worker and another node, between two steps
    stage.queue.faults.planned.append("after")
    expected = before.version if conditional else None
    assert await fate_of(stage.service.put("key", b"1", expected=expected)) == "unknown"
    assert [mutation.entry.value for mutation in stage.store.history] == [b"0", b"1", b"2"]


async def test_a_condition_on_a_version_that_the_key_never_had_fails_at_once() -> None:
    """Lag is only waited for where the cache shows that the expected version was accepted."""
    stage = Stage()
    async with stage.working():
        await stage.service.put("key", b"1", ack="stored")
        elsewhere = await stage.service.put("other", b"1", ack="stored")
        asked = stage.queue.faults.calls["publish writes"]
        with pytest.raises(ConditionFailedError):
            await stage.service.put("key", b"2", expected=elsewhere.version)
        assert stage.queue.faults.calls["publish writes"] == asked + 1


async def test_a_failed_condition_names_no_version_of_a_deleted_key() -> None:
    """Whoever expects a version of a key that was deleted since is told that it does not exist, also from the cache."""
    stage = Stage(with_queue=False)
    written = await stage.service.put("key", b"1")
    await stage.service.delete("key")
    with pytest.raises(ConditionFailedError) as refused:
        await stage.service.put("key", b"2", expected=written.version)
    assert refused.value.version is None


@pytest.mark.parametrize(
    ("expected", "request_id", "advice"),
    [
        (None, b"", "sending it again is safe"),
        (ZERO, b"r" * 32, "sending it again with the same Idempotency-Key is safe"),
        (ZERO, b"", "read the key before sending it again"),
    ],
    ids=["plain", "named", "nameless"],
)
async def test_a_write_without_an_answer_says_what_to_do(
    expected: Version | None, request_id: bytes, advice: str
) -> None:
    """A conditional write without a name might fail by what it did itself, so it is not to be sent again as it is."""
    stage = Stage(with_queue=False, settings=settings_of(limits=LimitSettings(write_deadline_s=0.1)))
    stage.fail(store="hang")
    with pytest.raises(UnavailableError, match=f"; {advice}$") as raised:
        await stage.service.put("key", b"1", expected=expected, request_id=request_id)
    assert raised.value.outcome == "unknown"
