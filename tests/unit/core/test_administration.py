"""What operators do with the tiers: it tells the truth, waits for no one for ever, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kvcore.administration import MOST_LETTERS, Administration
from kvcore.backends import Ability, DeadLetter, Purged, QueueStats
from kvcore.clock import HybridClock, version_at
from kvcore.errors import UnavailableError, UnsupportedError
from kvcore.metrics import Metrics
from kvcore.model import Entry, Mutation, Version
from kvcore.tiers import BreakerState, Tier
from tests.unit.core.fakes import FakeQueue, FakeStore, loop_ms
from tests.unit.core.stage import Stage


class Operator:
    """An administration, and the tiers and metrics that it is over."""

    def __init__(self, stage: Stage, **backends: Any) -> None:
        given = {"cache": stage.cache, "queue": stage.queue, "store": stage.store} | backends
        clock = asyncio.get_running_loop().time
        self.tiers: dict[Any, Tier[Any]] = {
            kind: Tier(kind, backend, getattr(stage.settings, kind), clock=clock)  # type: ignore[arg-type]  # the keys are kinds
            for kind, backend in given.items()
            if backend is not None
        }
        self.metrics = Metrics()
        self.does = Administration(
            stage.settings,
            clock=HybridClock(max_ahead_ms=60_000, now_ms=loop_ms),
            tiers=self.tiers,
            metrics=self.metrics,
        )


class PurgingStore(FakeStore):
    """Has this many tombstones."""

    def __init__(self, tombstones: int) -> None:
        super().__init__()
        self.tombstones = tombstones
        self.asked: list[Version] = []

    async def purge(self, before: Version, limit: int) -> Purged:
        self.asked.append(before)
        removed = min(self.tombstones, limit)
        self.tombstones -= removed
        return Purged(removed, more=self.tombstones > 0)


class BuryingQueue(FakeQueue):
    """Keeps dead letters."""

    abilities = FakeQueue.abilities | {Ability.DEAD_LETTERS}

    def __init__(self, count: int) -> None:
        super().__init__()
        self.letters = {
            str(n): DeadLetter(str(n), Mutation(f"key/{n}", Entry(Version(f"{n + 2:024x}"), b"value")), "refused")
            for n in range(count)
        }

    async def stats(self) -> QueueStats:
        return await self.faults.around("stats", lambda: QueueStats(waiting={}, consumers={}))

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        return await self.faults.around("dead-letters", lambda: list(self.letters.values())[:limit])

    async def replay(self, ids: Sequence[str]) -> int:
        return await self.discard(ids)

    async def discard(self, ids: Sequence[str]) -> int:
        return await self.faults.around("exhume", lambda: sum(self.letters.pop(one, None) is not None for one in ids))


async def test_a_cleared_cache_is_empty() -> None:
    """Nothing of what was cached is left, and reads fill it again."""
    stage = Stage(with_queue=False)
    await stage.service.put("key", b"value")
    await stage.service.get("key")
    assert (await stage.service.get("key")).cache == "hit"
    await Operator(stage).does.clear_cache()
    assert (await stage.service.get("key")).cache == "miss"


async def test_clearing_may_take_its_time() -> None:
    """A large cache is not given up after the deadline of a read, nor at last taken for one that has failed."""
    operator = Operator(Stage())
    tier = operator.tiers["cache"]
    tier.backend.faults.always = "hang"
    began = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError) as failure:
        await operator.does.clear_cache()
    assert failure.value.outcome == "unknown"
    assert asyncio.get_running_loop().time() - began > 100 * tier.settings.deadline_s  # of virtual time
    assert tier.breaker.state is BreakerState.CLOSED


async def test_a_purge_goes_on_in_bounded_portions() -> None:
    """Each call removes so much at most, and says whether to go on; what is removed is counted."""
    store = PurgingStore(2500)
    operator = Operator(Stage(), store=store)
    portions = [await operator.does.purge() for _ in range(3)]
    assert portions == [Purged(1000, more=True), Purged(1000, more=True), Purged(500, more=False)]
    assert operator.metrics.registry.get_sample_value("kvcore_purged_total") == 2500


async def test_a_purge_leaves_what_must_be_remembered() -> None:
    """Only what is older than the retention of tombstones is asked for."""
    stage, store = Stage(), PurgingStore(0)
    await Operator(stage, store=store).does.purge()
    assert store.asked == [version_at(loop_ms() - int(1000 * stage.settings.store.tombstone_retention_s))]


async def test_the_probe_measures_and_leaves_nothing_behind() -> None:
    """It comes back; afterwards store, cache, dead letters and the count of mutations are as they were; its time is in the lag."""
    stage = Stage()
    metrics = Metrics()
    async with stage.working(metrics=metrics):
        assert await Operator(stage).does.lag_s() > 0
        await stage.drained()
    assert (stage.store.entries, stage.cache.slots, stage.queue.dead) == ({}, {}, [])
    counts = {
        sample.value for family in metrics.registry.collect() if family.name == "kvcore_mutations" for sample in family.samples
    }  # fmt: skip
    assert counts <= {0.0}
    assert metrics.registry.get_sample_value("kvcore_lag_seconds_count") == 1


async def test_the_probe_takes_no_key_from_anybody() -> None:
    """Whoever uses its key keeps what is there, in store and cache."""
    stage = Stage()
    async with stage.working():
        written = await stage.service.put("kvcore.lag-probe", b"mine", ack="stored")
        await stage.service.get("kvcore.lag-probe")
        await Operator(stage).does.lag_s()
        found = await stage.service.get("kvcore.lag-probe")
    assert (found.cache, stage.store.entries["kvcore.lag-probe"].version) == ("hit", written.version)


async def test_a_probe_that_no_worker_takes_is_given_up() -> None:
    """After five seconds, with nothing done; the circuit breaker of the queue stays as it is."""
    stage = Stage()
    operator = Operator(stage)
    for _ in range(stage.settings.queue.failures + 1):
        began = asyncio.get_running_loop().time()
        with pytest.raises(UnavailableError) as failure:
            await operator.does.lag_s()
        assert failure.value.outcome == "not-applied"
        assert 4.9 < asyncio.get_running_loop().time() - began < 5.1  # of virtual time
    assert operator.tiers["queue"].breaker.state is BreakerState.CLOSED


async def test_however_many_ask_one_probe_is_under_way() -> None:
    """A hundred at once cost one message; those who come meanwhile share the next."""
    stage = Stage()
    operator = Operator(stage)
    first = [asyncio.ensure_future(operator.does.lag_s()) for _ in range(100)]
    while not stage.queue.waiting["writes"]:
        await asyncio.sleep(0)
    second = [asyncio.ensure_future(operator.does.lag_s()) for _ in range(100)]
    await asyncio.sleep(1)  # of virtual time: nobody takes it
    assert len(stage.queue.waiting["writes"]) == 1
    async with stage.working():
        lags = await asyncio.gather(*first, *second)
    assert stage.queue.faults.calls["publish writes"] == 2
    assert len(set(lags)) == 2


async def test_without_a_queue_there_is_nothing_to_ask_it() -> None:
    """Each operation on the queue says that there is none."""
    does = Operator(Stage(), queue=None).does
    of_letters = (does.dead_letters(1), does.dead_letter("1"), does.replay(["1"]), does.discard(["1"]))
    for asking in (does.queue_stats(), does.lag_s(), *of_letters):
        with pytest.raises(UnsupportedError, match="without a queue"):
            await asking


async def test_a_queue_that_keeps_no_dead_letters_says_so() -> None:
    """Its numbers and its lag are told all the same."""
    stage = Stage()
    does = Operator(stage).does
    for asking in (does.dead_letters(1), does.dead_letter("1"), does.replay(["1"]), does.discard(["1"])):
        with pytest.raises(UnsupportedError, match="dead letters"):
            await asking
    assert (await does.queue_stats()).dead_letters is None


async def test_a_dead_letter_is_found_among_those_listed_first() -> None:
    """The first thousand are looked through; what is behind them is not found before some of these are gone."""
    queue = BuryingQueue(MOST_LETTERS + 1)
    does = Operator(Stage(), queue=queue).does
    last = await does.dead_letter(str(MOST_LETTERS - 1))
    assert last is not None
    assert last.mutation.key == f"key/{MOST_LETTERS - 1}"
    assert await does.dead_letter(str(MOST_LETTERS)) is None
    assert await does.discard(["0", "no such"]) == 1
    assert await does.dead_letter(str(MOST_LETTERS)) is not None


async def test_dead_letters_are_listed_for_all_who_ask_at_once() -> None:
    """Their values may be large: they are in memory once, however many look."""
    queue = BuryingQueue(3)
    does = Operator(Stage(), queue=queue).does
    listings = await asyncio.gather(*(does.dead_letters(2) for _ in range(50)))
    assert {len(listing) for listing in listings} == {2}
    assert queue.faults.calls["dead-letters"] == 1


@pytest.mark.parametrize("operation", ["queue_stats", "lag_s", "dead_letters"])
async def test_who_only_looks_is_told_that_nothing_was_done(operation: str) -> None:
    """Whatever became of the call."""
    queue = BuryingQueue(1)
    queue.faults.always = "after"
    does = Operator(Stage(), queue=queue).does
    with pytest.raises(UnavailableError) as failure:
        await (does.dead_letters(1) if operation == "dead_letters" else getattr(does, operation)())
    assert failure.value.outcome == "not-applied"


@pytest.mark.parametrize("operation", ["replay", "discard"])
async def test_what_was_asked_of_dead_letters_may_have_been_done(operation: str) -> None:
    """A queue that did not answer leaves it open."""
    queue = BuryingQueue(1)
    queue.faults.always = "after"
    with pytest.raises(UnavailableError) as failure:
        await getattr(Operator(Stage(), queue=queue).does, operation)(["0"])
    assert failure.value.outcome == "unknown"
