"""What a node does while tiers are down: each cell of the table in the documents."""

from __future__ import annotations

import asyncio

import pytest

from kvcore.errors import UnavailableError
from kvcore.model import PRESENT
from kvcore.settings import StoreSettings
from tests.unit.core.fakes import Fault
from tests.unit.core.stage import Stage, fate_of, settings_of

WRITES: list[tuple[str, str, str, str]] = [
    # down               accepted       stored         conditional
    ("", "accepted", "stored", "stored"),
    ("cache", "accepted", "stored", "stored"),
    ("queue", "stored", "stored", "stored"),
    ("store", "accepted", "503", "503"),
    ("cache queue", "stored", "stored", "stored"),
    ("cache store", "accepted", "503", "503"),
    ("queue store", "503", "503", "503"),
    ("cache queue store", "503", "503", "503"),
]
READS = [
    # down               hit      miss
    ("", "value", "value"),
    ("cache", "value", "value"),
    ("queue", "value", "value"),
    ("store", "value", "503"),
    ("cache store", "503", "503"),
    ("queue store", "value", "503"),
    ("cache queue store", "503", "503"),
]
WAYS: list[Fault] = ["before", "after", "hang", "bug"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("down", "accepted", "stored", "conditional"), WRITES, ids=[row[0] or "none" for row in WRITES]
)
async def test_a_write_while_tiers_are_down(
    down: str, accepted: str, stored: str, conditional: str, way: Fault
) -> None:
    """A write goes on as far as one durable tier is there, and is refused within 2 s when none is."""
    stage = Stage()
    async with stage.working():
        await stage.service.put("key", b"0", ack="stored")
        stage.fail(**dict.fromkeys(down.split(), way))
        began = asyncio.get_running_loop().time()
        fates = [
            await fate_of(stage.service.put("key", b"1", ack="accepted")),
            await fate_of(stage.service.put("key", b"2", ack="stored")),
            await fate_of(stage.service.put("key", b"3", expected=PRESENT)),
        ]
        assert asyncio.get_running_loop().time() - began <= 6.0
        for fate, expected in zip(fates, (accepted, stored, conditional), strict=True):
            assert fate in (("not-applied", "unknown") if expected == "503" else (expected,))
        stage.heal()
        await stage.drained()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("down", "hit", "miss"), READS, ids=[row[0] or "none" for row in READS])
async def test_a_read_while_tiers_are_down(down: str, hit: str, miss: str, way: Fault) -> None:
    """A read is answered as long as the cache has the key or the store is there; it never invents that a key is missing."""
    stage = Stage()
    async with stage.working():
        await stage.service.put("cached", b"value", ack="stored")
        await stage.service.put("evicted", b"value", ack="stored")
        await stage.service.get("cached")
        del stage.cache.slots["evicted"]
        stage.fail(**dict.fromkeys(down.split(), way))
        for key, expected in (("cached", hit), ("evicted", miss)):
            try:
                found = await stage.service.get(key)
            except UnavailableError as error:
                assert (expected, error.outcome) in (("503", "not-applied"), ("503", "unknown"))  # noqa: PT017 - one of two ends
            else:
                assert found.entry is not None
                assert found.entry.value == expected.encode()


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_done_where_the_answer_says_so(way: Fault) -> None:
    """An outcome of "not-applied" is only said of a write that never shows up."""
    stage = Stage()
    stage.fail(queue=way, store=way)
    fates = {str(i): await fate_of(stage.service.put(str(i), b"1")) for i in range(8)}
    stage.heal()
    async with stage.working():
        await stage.drained()
    assert set(fates.values()) <= {"not-applied", "unknown"}
    for key, fate in fates.items():
        assert fate == "unknown" or key not in stage.store.entries


async def test_a_write_that_the_queue_refuses_since_it_is_full_is_not_done() -> None:
    """A full queue is no reason to go round it: the write is refused, and nothing was done."""
    stage = Stage()
    stage.fail(queue="full")
    assert await fate_of(stage.service.put("key", b"1")) == "not-applied"
    assert not stage.store.entries


async def test_without_a_queue_a_write_is_stored_by_the_node_itself() -> None:
    """The embedded profile has no queue: a write is stored before it is answered, and the cache has it at once."""
    stage = Stage(with_queue=False)
    assert await fate_of(stage.service.put("key", b"1")) == "stored"
    found = await stage.service.get("key")
    assert found.cache == "hit"
    assert found.entry == stage.store.entries["key"]


@pytest.mark.parametrize("way", ["after", "hang after", "hang"])
async def test_a_direct_write_of_unknown_outcome_leaves_nothing_stale_in_the_cache(way: Fault) -> None:
    """The store did not say what became of a write: soon it does, and then the cache has what the store has."""
    stage = Stage(with_queue=False)
    await stage.service.put("key", b"old")
    stage.store.faults.planned.append(way)
    assert await fate_of(stage.service.put("key", b"new")) == "unknown"
    await stage.service.get("key")
    await asyncio.sleep(1)
    found = await stage.service.get("key")
    assert found.entry == stage.store.entries["key"]
    assert found.entry.value == b"new"


async def test_direct_writes_of_unknown_outcome_are_bounded() -> None:
    """Beyond a number of unsettled writes others are refused with nothing done, and go on when the store is well."""
    patient = settings_of(store=StoreSettings(backend="fake", failures=1_000_000))
    stage = Stage(with_queue=False, settings=patient)
    stage.fail(store="after")
    fates = [await fate_of(stage.service.put(f"key {n}", b"1")) for n in range(300)]
    assert fates.count("unknown") == 256
    assert fates[-1] == "not-applied"
    stage.heal()
    await asyncio.sleep(60)  # of virtual time
    assert await fate_of(stage.service.put("key", b"2")) == "stored"
    assert len(stage.store.entries) == 257


async def test_many_direct_writes_of_unknown_outcome_are_settled_in_bulk() -> None:
    """A thousand writes that one call left open cost a store that works again a few calls, and hold up others for no longer."""
    stage = Stage(with_queue=False)
    stage.store.faults.planned.append("after")
    fates = await asyncio.gather(*(fate_of(stage.service.put(f"key {n}", b"1")) for n in range(1000)))
    assert set(fates) == {"unknown"}
    assert await fate_of(stage.service.put("key", b"2")) == "not-applied"
    stage.store.faults.calls.clear()
    await asyncio.sleep(1)  # of virtual time
    assert await fate_of(stage.service.put("key", b"2")) == "stored"
    assert stage.store.faults.calls["apply"] <= 13


async def test_one_write_that_the_store_cannot_take_holds_up_no_others() -> None:
    """Of many that one call left open because of it, all others are settled soon."""
    stage = Stage(with_queue=False, settings=settings_of(store=StoreSettings(backend="fake", failures=1_000_000)))
    stage.store.bugs.add(b"bug")
    values = [b"bug" if n == 30 else b"1" for n in range(50)]
    fates = await asyncio.gather(*(fate_of(stage.service.put(f"key {n}", value)) for n, value in enumerate(values)))
    assert set(fates) == {"unknown"}
    await asyncio.sleep(5)  # of virtual time: much less than a bad one is given
    assert len(stage.store.entries) == 49


async def test_a_direct_write_that_the_store_cannot_take_is_given_up() -> None:
    """A write that makes the store's backend fail again and again harms no other, and is dropped from the cache in the end."""
    stage = Stage(with_queue=False)
    await stage.service.put("bad", b"old")
    stage.store.bugs.add(b"bug")
    assert await fate_of(stage.service.put("bad", b"bug")) == "unknown"
    assert await fate_of(stage.service.put("good", b"value")) == "stored"
    await asyncio.sleep(60)  # of virtual time: longer than anybody is patient
    assert stage.cache.slot("bad") is None
    assert (await stage.service.get("bad")).entry is not None
