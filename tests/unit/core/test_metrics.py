"""Every metric moves when what it counts happens, and is there before."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from kvcore import __version__
from kvcore.backends import Ability, Factory, Message, PoolStats, QueueStats, Reserve, pool_of
from kvcore.clock import HybridClock, version_at
from kvcore.config import resolve
from kvcore.errors import KvcoreError, UnavailableError, UnsupportedError
from kvcore.hookspecs import hookimpl
from kvcore.metrics import Metrics
from kvcore.model import PRESENT, ZERO, Entry, Mutation
from kvcore.runtime import Node, open_node
from tests.unit.core.fakes import FakeCache, FakeQueue, FakeStore, Fault, loop_ms
from tests.unit.core.given_plugins import FakePlugin, fake_plugins
from tests.unit.core.stage import Stage

A_MOMENT = {f"KVCORE_{kind}__RECOVERY_S": "0.000001" for kind in ("CACHE", "QUEUE", "STORE")}
"""Circuit breakers recover on the real clock, which stands still in these tests."""


class PooledStore(FakeStore):
    """A store that tells of its connections."""

    abilities: ClassVar[frozenset[Ability]] = FakeStore.abilities | {Ability.POOL}

    def __init__(self) -> None:
        super().__init__()
        self.pooled: PoolStats | Exception = PoolStats(open=3, in_use=2, limit=8, retries=5)

    def pool(self) -> PoolStats:
        if isinstance(self.pooled, Exception):
            raise self.pooled
        return self.pooled


class CountingQueue(FakeQueue):
    """A queue that tells all that one may tell."""

    async def stats(self) -> QueueStats:
        return await self.faults.around(
            "stats",
            lambda: QueueStats(
                waiting={"writes": 3, "refreshes": 1},
                unsettled={"writes": 2},
                consumers={"writes": 4},
                dead_letters=5,
            ),
        )


class Given(FakePlugin):
    """Gives these, too."""

    @hookimpl
    def kvcore_stores(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeStore), self.factory("pooled", PooledStore)]

    @hookimpl
    def kvcore_queues(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeQueue), self.factory("counting", CountingQueue)]


class Running:
    """A node on fakes, and what its metrics say."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.service = node.service
        self.cache: FakeCache = node.tiers["cache"].backend
        self.store: FakeStore = node.tiers["store"].backend
        self.get = node.service.get
        self.put = node.service.put
        self.delete = node.service.delete

    @property
    def queue(self) -> FakeQueue:
        """The queue, where there is one."""
        queue: FakeQueue = self.node.tiers["queue"].backend
        return queue

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample; None: there is none."""
        return self.node.metrics.registry.get_sample_value(f"kvcore_{name}", labels)

    def of(self, name: str, label: str) -> dict[str, float]:
        """Return the samples that are not 0, by a label."""
        return {
            sample.labels[label]: sample.value
            for family in self.node.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"kvcore_{name}" and sample.value
        }

    async def becomes(self, wanted: float, name: str, **labels: str) -> None:
        """Wait until a sample has a value."""
        await until(lambda: self.value(name, **labels) == wanted)


@asynccontextmanager
async def running(**changes: str) -> AsyncIterator[Running]:
    """Open a node without a worker, with changes of its settings: `store__backend="pooled"`."""
    plugins = fake_plugins(Given())
    environment = {f"KVCORE_{kind}__BACKEND": "fake" for kind in ("CACHE", "QUEUE", "STORE")} | A_MOMENT
    environment["KVCORE_WORKER__IN_NODE"] = "false"
    environment |= {f"KVCORE_{name.upper()}": value for name, value in changes.items()}
    clock = HybridClock(max_ahead_ms=60_000, now_ms=loop_ms)
    async with open_node(resolve(plugins, environment=environment), plugins, clock=clock) as node:
        yield Running(node)


WITH_WORKER = {"worker__in_node": "true"}
NO_QUEUE = {"queue__backend": "none"}


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


# --- before anything happens ------------------------------------------------------------------------------------------


async def test_what_can_be_counted_is_there_before_it_happens() -> None:
    """Counters whose labels are listed begin with 0 for every combination, so that a rate sees the first event."""
    async with running() as at:
        shown = {(one.name, *one.labels.values()) for f in at.node.metrics.registry.collect() for one in f.samples}
        for metric in at.node.metrics.described():
            if metric.type != "counter" or any(isinstance(values, str) for values in metric.labels.values()):
                continue
            if metric.name == "kvcore_backend_retries_total":
                continue  # none of the fakes tells of any
            for values in itertools.product(*metric.labels.values()):
                assert (metric.name, *values) in shown


def test_names_and_labels_are_as_prometheus_wants_them() -> None:
    """Counters end in _total and others do not, units are base units, labels are lower-case words, and each says what for."""
    for metric in Metrics().described():
        assert re.fullmatch(r"kvcore(_[a-z]+)+", metric.name)
        assert (metric.type == "counter") == metric.name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name)
        assert metric.name.endswith(("_seconds", "_items")) or metric.type != "histogram"
        assert metric.meaning.endswith(".")
        assert all(re.fullmatch("[a-z]+", label) for label in metric.labels)


def test_a_label_that_a_metric_does_not_have_is_refused() -> None:
    """A wrong number of values is a fault that is seen at once, and no sample."""
    metrics = Metrics()
    with pytest.raises(ValueError, match=r"kvcore_http_request_duration_seconds has the labels operation, status"):
        metrics.http.requests.labels("getValue")


def test_a_histogram_counts_a_value_in_every_bucket_that_it_fits() -> None:
    """The bounds belong to their buckets, and what is beyond all of them is counted too."""
    metrics = Metrics()
    observe = metrics.tiers.batches("store", "get")
    for items in (1, 2, 1024, 1025):
        observe(items)

    def found(end: str, **le: str) -> float | None:
        labels = {"tier": "store", "operation": "get"} | le
        return metrics.registry.get_sample_value(f"kvcore_batch_items_{end}", labels)

    bounds = ("1.0", "2.0", "512.0", "1024.0", "+Inf")
    assert [found("bucket", le=bound) for bound in bounds] == [1, 2, 2, 3, 4]
    assert (found("count"), found("sum")) == (4, 2052)


# --- the process ------------------------------------------------------------------------------------------------------


async def test_a_process_tells_what_it_is_and_whether_it_wants_requests() -> None:
    """The build is a label, and readiness follows the phase."""
    async with running() as at:
        assert at.of("build_info", "version") == {__version__: 1}
        assert at.value("ready") == 0
        at.node.phase = "ready"
        assert at.value("ready") == 1
        at.node.phase = "draining"
        assert at.value("ready") == 0


async def test_the_clock_that_is_behind_is_seen() -> None:
    """A version of the future that was read shows how far it is ahead; time makes up for it."""
    async with running() as at:
        assert at.value("clock_ahead_seconds") == 0
        at.store.entries["key"] = Entry(version_at(loop_ms() + 10_000), b"of the future")
        await at.get("key")
        assert at.value("clock_ahead_seconds") == pytest.approx(10, abs=0.1)
        await asyncio.sleep(11)
        assert at.value("clock_ahead_seconds") == 0


async def test_a_version_that_the_clock_refuses_is_seen_for_a_minute() -> None:
    """What makes writes fail shows how far it is ahead, and does not stay for ever."""
    async with running() as at:
        at.store.entries["key"] = Entry(version_at(loop_ms() + 3_600_000), b"of the far future")
        await at.get("key")
        assert at.value("clock_ahead_seconds") == pytest.approx(3600, abs=0.1)
        await asyncio.sleep(61)
        assert at.value("clock_ahead_seconds") == 0


async def test_what_was_purged_is_counted() -> None:
    """The sum of what the purges of this process have removed."""
    async with running(store__purge_interval_s="5") as at:
        for total in (7, 14):
            at.store.forgettable = 7
            await at.becomes(total, "purged_total")


# --- reads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "read"),
    [
        ("hit", {}),
        ("negative", {"key": "deleted"}),
        ("negative", {"key": "expired"}),
        ("miss", {"key": "unknown"}),
        ("stale", {"min_version": version_at(1)}),
        ("bypass", {"from_store": True}),
    ],
    ids=["hit", "deleted", "expired", "miss", "stale", "bypass"],
)
async def test_a_read_counts_by_what_the_cache_had(result: str, read: dict[str, Any]) -> None:
    """Each read counts once; that a key does not exist is an answer of the cache, too."""
    async with running(**NO_QUEUE) as at:
        await at.put("key", b"value")
        await at.put("expired", b"value", ttl_s=1)
        await at.delete("deleted")
        await asyncio.sleep(2)
        if result == "stale":
            old = Entry(ZERO, b"old")
            at.cache.slots["key"] = (old, loop_ms() + 60_000)
        await at.get(**({"key": "key"} | read))
        assert at.of("cache_reads_total", "result") == {result: 1}


@pytest.mark.parametrize("fault", ["before", "hang", "bug", "full"])
async def test_a_cache_that_fails_counts_as_error_and_then_is_bypassed(fault: Fault) -> None:
    """It was asked and failed; once the breaker is open it is not asked."""
    async with running(cache__recovery_s="1000", cache__failures="1", **NO_QUEUE) as at:
        at.cache.faults.always = fault
        await at.get("key")
        await at.get("key")
        bypassed = {"error": 1, "bypass": 1} if fault in ("before", "hang") else {"error": 2}
        assert at.of("cache_reads_total", "result") == bypassed


async def test_a_lease_that_another_has_counts_as_refused() -> None:
    """Who misses a key that somebody else is filling waits; each time that the lease is asked for counts."""
    async with running(**NO_QUEUE) as at:
        await at.cache.reserve([Reserve("key", "another's", True, 60_000)])
        await at.get("key")
        refused = at.value("cache_leases_refused_total")
        assert refused
        await at.get("other")
        assert at.value("cache_leases_refused_total") == refused


# --- writes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ack", ["accepted", "stored"])
async def test_a_write_through_the_queue_counts_there(ack: Any) -> None:
    """Accepted or answered by a worker: it went through the queue."""
    async with running(**WITH_WORKER) as at:
        await at.put("key", b"value", ack=ack)
        assert at.of("writes_total", "way") == {"queue": 1}
        assert at.value("writes_past_queue_total") == 0


async def test_a_write_past_a_queue_that_is_down_counts_as_such() -> None:
    """It went to the store, and that it had to is told besides."""
    async with running() as at:
        at.queue.faults.always = "before"
        await at.put("key", b"value")
        assert at.of("writes_total", "way") == {"store": 1}
        assert at.value("writes_past_queue_total") == 1


async def test_a_write_without_a_queue_goes_past_none() -> None:
    """Where there is no queue, the store is the way."""
    async with running(**NO_QUEUE) as at:
        await at.put("key", b"value")
        assert at.of("writes_total", "way") == {"store": 1}
        assert at.value("writes_past_queue_total") == 0


async def test_a_write_of_unknown_outcome_is_shown_until_it_is_settled() -> None:
    """As long as the store does not say what became of it."""
    async with running(**NO_QUEUE) as at:
        await until(lambda: at.store.faults.calls["purge"])
        at.store.faults.always = "after"
        with pytest.raises(UnavailableError):
            await at.put("key", b"value")
        assert at.value("writes_unsettled") == 1
        at.store.faults.heal()
        await at.becomes(0, "writes_unsettled")


async def test_a_write_that_is_stamped_anew_counts_as_a_retry() -> None:
    """The store has a version of a clock that is ahead, and the write gets one above it."""
    async with running(**NO_QUEUE) as at:
        at.store.entries["key"] = Entry(version_at(loop_ms() + 10_000), b"of the future")
        await at.put("key", b"value")
        assert at.value("write_retries_total") == 1
        assert at.of("mutations_total", "verdict") == {"superseded": 1, "applied": 1}


async def test_mutations_count_by_what_became_of_them() -> None:
    """Applied, in conflict with what is there, or refused by the store."""
    async with running(**NO_QUEUE) as at:
        at.store.poison.add(b"poison")
        await at.put("key", b"value")
        for write in (at.put("none", b"value", expected=PRESENT), at.put("other", b"poison")):
            with pytest.raises(KvcoreError):
                await write
        assert at.of("mutations_total", "verdict") == {"applied": 1, "conflict": 1, "rejected": 1}


# --- tiers ------------------------------------------------------------------------------------------------------------


async def test_reads_at_the_same_time_are_one_call_of_many_items() -> None:
    """The size of a bulk call is told by tier and operation, and so is its time."""
    async with running(**NO_QUEUE) as at:
        await asyncio.gather(*(at.get(str(number)) for number in range(5)))
        for tier, operation in (("cache", "read"), ("store", "fill")):
            assert at.value("batch_items_sum", tier=tier, operation=operation) == 5
            assert at.value("batch_items_count", tier=tier, operation=operation) == 1
        for tier, operation in (("cache", "read"), ("cache", "reserve"), ("store", "get"), ("cache", "install")):
            told = {"tier": tier, "operation": operation, "outcome": "ok"}
            assert at.value("backend_call_duration_seconds_count", **told) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("before", "unavailable"), ("hang", "timeout"), ("full", "overloaded"), ("bug", "fault"), (None, "ok")],
)
async def test_a_call_counts_by_how_it_ended(fault: Fault | None, outcome: str) -> None:
    """Each way to fail is an outcome of its own."""
    async with running(**NO_QUEUE) as at:
        at.cache.faults.always = fault
        await at.get("key", from_store=True)
        await at.get("key")
        told = {"tier": "cache", "operation": "read", "outcome": outcome}
        assert at.value("backend_call_duration_seconds_count", **told) == 1


async def test_a_call_that_is_cancelled_counts_as_cancelled() -> None:
    """Nobody waits for it any more."""
    async with running(**NO_QUEUE) as at:
        at.store.faults.always = "hang"
        scan = asyncio.create_task(at.service.scan("", limit=1))
        await until(lambda: at.store.faults.calls["scan"])
        scan.cancel()
        await asyncio.gather(scan, return_exceptions=True)
        told = {"tier": "store", "operation": "scan", "outcome": "cancelled"}
        assert at.value("backend_call_duration_seconds_count", **told) == 1


async def test_a_breaker_is_seen_to_open_and_to_close() -> None:
    """The gauge shows its state, and the counters what it did in between."""
    async with running(cache__failures="2", cache__recovery_s="1000", **NO_QUEUE) as at:
        assert at.value("breaker_open", tier="cache") == 0
        at.cache.faults.always = "before"
        for _ in range(3):
            await at.get("key")
        assert at.value("breaker_open", tier="cache") == 1
        assert at.value("breaker_refused_calls_total", tier="cache") == 1
        assert at.of("breaker_transitions_total", "state") == {"open": 1}
        at.cache.faults.heal()
        at.node.tiers["cache"].breaker.succeeded()
        assert at.value("breaker_open", tier="cache") == 0
        assert at.of("breaker_transitions_total", "state") == {"open": 1, "closed": 1}


async def test_a_trial_is_a_state_of_its_own() -> None:
    """A breaker that has waited lets one call through."""
    async with running(cache__failures="1", **NO_QUEUE) as at:
        at.cache.faults.planned.append("before")
        await at.get("key")
        await at.get("key")
        assert at.of("breaker_transitions_total", "state") == {"open": 1, "half-open": 1, "closed": 1}


async def test_a_tier_that_is_not_there_is_not_shown() -> None:
    """A node without a queue has no circuit breaker of one."""
    async with running(**NO_QUEUE) as at:
        for name in ("breaker_open", "breaker_refused_calls_total"):
            assert at.value(name, tier="queue") is None
            assert at.value(name, tier="store") == 0


async def test_the_connections_of_a_backend_are_those_that_it_has_now() -> None:
    """They are asked for when the metrics are, from backends that tell of them."""
    async with running(store__backend="pooled", **NO_QUEUE) as at:
        assert at.of("backend_connections", "state") == {"open": 3, "in-use": 2}
        at.store.pooled = PoolStats(open=4, in_use=0, limit=8, retries=6)  # type: ignore[attr-defined]  # it is the pooled one
        assert at.of("backend_connections", "state") == {"open": 4}
        assert at.value("backend_connections_limit", tier="store") == 8
        assert at.value("backend_retries_total", tier="store") == 6
        assert at.value("backend_connections_limit", tier="cache") is None
        at.store.pooled = PoolStats(open=4, in_use=0, limit=None, retries=6)  # type: ignore[attr-defined]  # it is the pooled one
        assert at.value("backend_connections_limit", tier="store") is None


async def test_a_backend_that_fails_to_tell_of_its_connections_costs_nobody_the_rest() -> None:
    """Its numbers are missing, and all others are there."""
    async with running(store__backend="pooled", **NO_QUEUE) as at:
        at.store.pooled = KeyError("a bug in the backend")  # type: ignore[attr-defined]  # it is the pooled one
        assert at.value("backend_connections_limit", tier="store") is None
        assert at.value("breaker_open", tier="store") == 0


def test_connections_are_refused_where_they_are_not_declared() -> None:
    """A backend without the ability is not asked."""
    with pytest.raises(UnsupportedError, match="FakeCache"):
        pool_of(FakeCache())


# --- the worker -------------------------------------------------------------------------------------------------------


async def test_what_a_worker_brings_to_the_store_has_its_lag() -> None:
    """One observation for each mutation, and none in hand afterwards."""
    async with running(**WITH_WORKER) as at:
        for number in range(3):
            await at.put(str(number), b"value", ack="stored")
        assert at.value("lag_seconds_count") == 3
        assert at.value("lag_oldest_seconds") == 0
        assert at.of("mutations_total", "verdict") == {"applied": 3}


RETRIES: dict[str, dict[str, Fault]] = {
    "apply": {"store": "before"},
    "refresh": {"cache": "before"},
    "late-refresh": {"cache": "before"},
    "consume-writes": {"queue": "before"},
    "consume-refreshes": {"queue": "before"},
}


@pytest.mark.parametrize("what", RETRIES)
async def test_what_a_worker_tries_again_is_counted(what: str) -> None:
    """By what it tries, for as long as that fails, and not for what works."""
    stage, metrics = Stage(), Metrics()
    await stage.service.put("key", b"value")
    if what == "consume-refreshes":
        await stage.queue.publish("refreshes", [Mutation("key", Entry(version_at(1)))])
    if what == "refresh":
        stage.queue.bound = 0  # else it would be put off
    stage.fail(**RETRIES[what])

    def tried() -> float:
        return metrics.registry.get_sample_value("kvcore_worker_retries_total", {"what": what}) or 0

    async with stage.working(metrics=metrics):
        await until(lambda: tried() > 1)
        stage.heal()
        await stage.drained()
        before = tried()
        stage.queue.bound = 100
        await stage.service.put("other", b"value", ack="stored")
        await stage.drained()
        assert tried() == before


async def test_refreshes_that_wait_for_the_cache_are_counted() -> None:
    """Each key that the cache missed, when it is put on the queue."""
    async with running(**WITH_WORKER) as at:
        at.cache.faults.always = "before"
        await at.put("key", b"value", ack="stored")
        await at.becomes(1, "refreshes_put_off_total")


async def test_mutations_that_come_again_are_counted() -> None:
    """Those that were in other hands before, and no others."""
    async with running(**WITH_WORKER) as at:
        again = [Mutation(str(number), Entry(version_at(loop_ms()), b"value")) for number in range(2)]
        at.queue._put("writes", 0, [Message(one, redelivered=True) for one in again])
        await at.put("key", b"value", ack="stored")
        assert at.value("redelivered_mutations_total") == 2


async def test_the_queue_is_shown_as_the_worker_saw_it_last() -> None:
    """By channel and state; what is not known is not shown, and nothing is while the queue cannot be asked."""
    async with running(queue__backend="counting", **WITH_WORKER) as at:
        await at.becomes(3, "queue_messages", channel="writes", state="waiting")
        assert at.value("queue_messages", channel="writes", state="unsettled") == 2
        assert at.value("queue_messages", channel="refreshes", state="waiting") == 1
        assert at.value("queue_messages", channel="refreshes", state="unsettled") is None
        assert at.value("queue_consumers", channel="writes") == 4
        assert at.value("queue_dead_letters") == 5
        at.queue.faults.always = "before"
        await until(lambda: at.value("queue_messages", channel="writes", state="waiting") is None)
        assert at.value("queue_consumers", channel="writes") is None
        assert math.isnan(at.value("queue_dead_letters") or 0)
