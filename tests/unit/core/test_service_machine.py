"""The whole service against a model of it, while every tier fails at random."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kvcore import slots
from kvcore.backends import Refresh
from kvcore.clock import version_at
from kvcore.errors import ConditionFailedError, UnavailableError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Version
from kvcore.service import Ack, KeyValueService, Written
from kvcore.settings import WorkerSettings
from tests.unit.core.fakes import EPOCH_MS, FakeCache, FakeStore, Fault
from tests.unit.core.stage import Stage, settings_of
from tests.unit.core.virtual_time import VirtualTimeLoop

T = TypeVar("T")

KEYS = st.sampled_from(["a", "a", "b"])
KEPT = st.sampled_from(["a", "b", "c", "c"])
NODES = st.sampled_from([0, 1])
TIERS = st.sampled_from(["cache", "queue", "store"])
FAULTS = st.sampled_from(["before", "after", "hang", "hang after", "full", "bug"])
ACKS = st.sampled_from(["accepted", "stored"])


@dataclass
class Attempt:
    """A write that a client has tried, and what the client knows about it. Values are unique, so they tell writes apart."""

    key: str
    value: bytes | None
    expires: bool = False
    version: Version | None = None
    fate: Literal["stored", "accepted", "unknown", "not-applied", "conflict"] = "unknown"

    @property
    def is_acknowledged(self) -> bool:
        return self.fate in ("stored", "accepted")

    @property
    def is_possible(self) -> bool:
        return self.fate not in ("not-applied", "conflict")


class Windows:
    """Which keys a node has written to the store itself without being able to tell the cache: the documented window."""

    def __init__(self) -> None:
        self.open: dict[str, Version] = {}


class WatchedStore(FakeStore):
    """A node's way to the store: what it applies opens a window."""

    def __init__(self, store: FakeStore, windows: Windows) -> None:
        self.__dict__ = store.__dict__
        self.windows = windows

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        try:
            return await super().apply(mutations)
        finally:
            for mutation in mutations:
                held = self.entries.get(mutation.key)
                if held is not None and held.version == mutation.version:
                    self.windows.open[mutation.key] = mutation.version


class WatchedCache(FakeCache):
    """A node's way to the cache: what it refreshes closes the window."""

    def __init__(self, cache: FakeCache, windows: Windows) -> None:
        self.__dict__ = cache.__dict__
        self.windows = windows

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        await super().refresh(refreshes)
        for refresh in refreshes:
            if self.windows.open.get(refresh.key, ZERO) <= refresh.version:
                self.windows.open.pop(refresh.key, None)


class ServiceMachine(RuleBasedStateMachine):
    """Two nodes whose clocks disagree, a worker that comes and goes, and three tiers that fail."""

    @initialize(with_queue=st.sampled_from([True, True, False]))
    def start(self, with_queue: bool) -> None:
        """Start with nothing written."""
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.values = itertools.count(1)
        self.attempts: list[Attempt] = []
        self.seen: dict[str, Version] = {}
        self.uncertain: set[str] = set()
        self.windows = Windows()
        self.working: asyncio.Task[None] | None = None
        self.runner.run(self._start(with_queue))

    async def _start(self, with_queue: bool) -> None:
        # A worker that is stopped drops what it has in hand, as in a crash.
        worker = WorkerSettings(deadline_s=1.0, shutdown_s=0.0001, batch=3)
        self.stage = Stage(with_queue=with_queue, settings=settings_of(worker=worker))
        backends: dict[str, Any] = {
            "store": WatchedStore(self.stage.store, self.windows),
            "cache": WatchedCache(self.stage.cache, self.windows),
        }
        self.nodes = [self.stage.node(**backends), self.stage.node(ahead_ms=3000, **backends)]
        self.given = [ZERO, ZERO]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run in the machine's loop."""
        return self.runner.run(coroutine)

    # --- what clients do ----------------------------------------------------------------------------------------------

    @rule(node=NODES, key=KEYS, ack=ACKS, delete=st.booleans(), ttl_s=st.sampled_from([None, None, 2]))
    def write(self, node: int, key: str, ack: Ack, delete: bool, ttl_s: int | None) -> None:
        """Write plainly."""
        attempt = self._attempt(key, delete, ttl_s)
        self.run(self._try(node, attempt, ttl_s=ttl_s, ack=ack))
        assert attempt.fate != "conflict"

    @rule(node=NODES, key=KEYS, count=st.integers(2, 4), ack=ACKS, conditional=st.booleans())
    def write_at_once(self, node: int, key: str, count: int, ack: Ack, conditional: bool) -> None:
        """Write one key several times at once; of conditional writes on one version at most one can win."""
        expected = self.seen.get(key, ZERO) if conditional else None
        attempts = [self._attempt(key, delete=False) for _ in range(count)]

        async def burst() -> None:
            tries = (
                self._try((node + i) % 2, a, expected=expected, ack=ack, alone=False) for i, a in enumerate(attempts)
            )
            await asyncio.gather(*tries)

        self.run(burst())
        if conditional:
            assert sum(attempt.is_acknowledged for attempt in attempts) <= 1

    @rule(node=NODES, key=KEYS, delete=st.booleans(), which=st.sampled_from(["seen", "old", "missing", "present"]))
    def write_on_condition(self, node: int, key: str, delete: bool, which: str) -> None:
        """Write on a condition: it fails only, and always, where it does not hold.

        Against what was accepted and waits in the queue, that is so for an ETag, as long as the cache shows that version.
        """
        newest, quiet = self._newest(key), self.stage.queue.is_empty and key not in self.uncertain
        versions = [a.version for a in self.attempts if a.key == key and a.version]
        by_name = {
            "seen": self.seen.get(key, ZERO),
            "old": min(versions, default=ZERO),
            "missing": ZERO,
            "present": PRESENT,
        }
        expected = by_name[which]
        shown, asked = self.run(self._shown(key)), self.stage.cache.faults.calls["reserve"]
        attempt = self._attempt(key, delete)
        self.run(self._try(node, attempt, expected=expected))
        is_seen = shown == self.seen_version(newest) and self.stage.cache.faults.calls["reserve"] > asked
        if newest is not None and newest.expires:
            return
        exists = newest is not None and newest.value is not None
        holds = (
            exists
            if expected == PRESENT
            else not exists
            if expected == ZERO
            else exists and self.seen_version(newest) == expected
        )
        if key not in self.uncertain and holds and (quiet or (is_seen and expected not in (ZERO, PRESENT))):
            assert attempt.fate != "conflict"
        if quiet and not holds:
            assert not attempt.is_acknowledged

    @rule(node=NODES, key=KEPT, ack=ACKS, beside_write=st.booleans())
    def restore(self, node: int, key: str, ack: Ack, beside_write: bool) -> None:
        """Restore an entry from before all that is written here, and, when that was read, the next one; maybe beside a write."""
        older, newer = self._kept(key), self._kept(key)

        async def beside() -> None:
            written = self._attempt(key, delete=False)
            await asyncio.gather(self._restore(node, newer), self._try(1 - node, written, ack=ack, alone=False))

        self.run(self._restore(node, older))
        self.read(1 - node, key)
        self.run(beside() if beside_write else self._restore(node, newer))

    @rule(node=NODES, key=KEYS, from_store=st.booleans())
    def read_on(self, node: int, key: str, from_store: bool) -> None:
        """Read no older than what was seen before: one's own writes, and what one has read."""
        seen = self.seen.get(key, ZERO)
        try:
            found = self.run(self.nodes[node].get(key, min_version=seen, from_store=from_store))
        except UnavailableError:
            return
        if found.entry is None:
            assert seen == ZERO or any(
                a.is_possible and (a.value is None or a.expires) and (a.version or seen) >= seen
                for a in self._attempts_on(key)
            ), "a value is missing that nobody has deleted since"
        else:
            assert found.entry.version >= seen
            self._check_is_known(key, found.entry)
            self.seen[key] = found.entry.version

    @rule(node=NODES, key=KEYS)
    def read(self, node: int, key: str) -> None:
        """Read whatever there is: it was written by somebody, and not refused."""
        try:
            found = self.run(self.nodes[node].get(key))
        except UnavailableError:
            return
        if found.entry is not None:
            self._check_is_known(key, found.entry)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    @rule(tier=TIERS, faults=st.lists(st.one_of(st.none(), FAULTS), min_size=1, max_size=3))
    def stumble(self, tier: str, faults: list[Fault | None]) -> None:
        """Let the next calls of a tier fail."""
        getattr(self.stage, tier).faults.planned.extend(faults)

    @rule(tier=TIERS, fault=FAULTS, seconds=st.sampled_from([0.0, 3.0]))
    def fail(self, tier: str, fault: Fault, seconds: float) -> None:
        """Let a tier fail until it is healed."""
        self.stage.fail(**{tier: fault})
        self.run(asyncio.sleep(seconds))

    @rule(node=NODES, key=KEYS, ack=ACKS, evicted=st.booleans())
    def write_evict_and_read_on(self, node: int, key: str, ack: Ack, evicted: bool) -> None:
        """Write on one node and read it on the other, whatever the cache has kept."""
        self.write(node, key, ack, delete=False, ttl_s=None)
        if evicted:
            self.evict(key)
        self.read(1 - node, key)
        self.read_on(1 - node, key, from_store=False)

    @rule()
    def heal(self) -> None:
        """Let all work again, after a while."""
        self.run(self._healed(1.0))

    @rule(key=KEYS)
    def evict(self, key: str) -> None:
        """Let the cache forget a key."""
        self.stage.cache.slots.pop(key, None)
        self.windows.open.pop(key, None)

    @rule(seconds=st.sampled_from([0.01, 0.6, 3.0, 40.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.stage.with_queue)
    @rule()
    def start_or_stop_worker(self) -> None:
        """Start a worker, or let it crash with what it has in hand."""
        self.run(self._work(self.working is None))

    # --- rest ---------------------------------------------------------------------------------------------------------

    @rule()
    def come_to_rest(self) -> None:
        """When all works again and the queue is empty, store, cache and acknowledgements agree."""
        self.run(self._rest())
        for key in ("a", "b", "c"):
            entry = self.stage.store.entries.get(key, Entry(ZERO))
            self._check_acknowledged(key, entry)
            self._check_refused_is_not_there(key)
            newest = self._newest(key)
            if entry.version == (newest.version if newest else ZERO):
                self.uncertain.discard(key)
            slot = self.run(self._soon(lambda key=key: self.stage.cache.slot(key)))
            if isinstance(slot, Entry) and key not in self.windows.open:
                assert slot == entry, "the cache differs from the store at rest"
            self.evict(key)
            for node in self.nodes:
                found = self.run(node.get(key, min_version=self.seen.get(key, ZERO))).entry
                assert found is None or found == entry

    async def _rest(self) -> None:
        await self._healed(60.0)
        if self.stage.with_queue:
            if self.working is None:
                await self._work(True)
            await self.stage.drained()

    async def _healed(self, seconds: float) -> None:
        self.stage.heal()
        await asyncio.sleep(seconds)

    def teardown(self) -> None:
        """Come to rest once more."""
        if hasattr(self, "stage"):
            try:
                self.come_to_rest()
            finally:
                self.run(self._work(False))
                self.runner.close()

    # --- the model ----------------------------------------------------------------------------------------------------

    def _attempt(self, key: str, delete: bool, ttl_s: int | None = None) -> Attempt:
        value = None if delete else str(next(self.values)).encode()
        attempt = Attempt(key, value, expires=ttl_s is not None and not delete)
        self.attempts.append(attempt)
        return attempt

    def _kept(self, key: str) -> Attempt:
        """Return what was written long ago, elsewhere, and is to be restored."""
        attempt = self._attempt(key, delete=False)
        attempt.version = version_at(EPOCH_MS - 86_400_000 + len(self.attempts))
        return attempt

    async def _try(
        self, node: int, attempt: Attempt, *, alone: bool = True, ttl_s: int | None = None, **how: Any
    ) -> None:
        service = self.nodes[node]
        try:
            written = await self._write(service, attempt, ttl_s, how)
        except ConditionFailedError as error:
            attempt.fate = "conflict"
            assert error.version != how["expected"]  # noqa: PT017 - it goes on with what it learns
            return
        except UnavailableError as error:
            attempt.fate = error.outcome
            if error.outcome == "unknown":
                self.uncertain.add(attempt.key)
            return
        attempt.version, attempt.fate = written.version, "stored" if written.stored else "accepted"
        if written.stored:
            assert self.stage.store.entries[attempt.key].version >= written.version
        if alone:
            assert written.version > self.given[node], "a node's later write is older"
        self.given[node] = max(self.given[node], written.version)
        self.seen[attempt.key] = max(self.seen.get(attempt.key, ZERO), written.version)

    async def _restore(self, node: int, kept: Attempt) -> None:
        entry = Entry(kept.version or ZERO, kept.value)
        try:
            came_to = await self.nodes[node].restore(kept.key, entry)
        except UnavailableError as error:
            kept.fate = error.outcome
            if error.outcome == "unknown":
                self.uncertain.add(kept.key)
            return
        assert self.stage.store.entries[kept.key].version >= came_to.version >= entry.version
        if came_to.what == "restored":
            kept.fate = "stored"
            self.seen[kept.key] = max(self.seen.get(kept.key, ZERO), entry.version)

    @staticmethod
    def _write(
        service: KeyValueService, attempt: Attempt, ttl_s: int | None, how: dict[str, Any]
    ) -> Awaitable[Written]:
        if attempt.value is None:
            return service.delete(attempt.key, **how)
        return service.put(attempt.key, attempt.value, ttl_s=ttl_s, **how)

    @staticmethod
    def seen_version(attempt: Attempt | None) -> Version:
        return (attempt.version if attempt else None) or ZERO

    async def _shown(self, key: str) -> Version | None:
        """Return the version that the cache shows, if it has the key and can be asked."""
        if self.stage.cache.faults.always or any(self.stage.cache.faults.planned):
            return None
        entry = slots.read(self.stage.cache.slot(key))
        return None if entry is None else entry.version

    def _attempts_on(self, key: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.key == key]

    def _newest(self, key: str) -> Attempt | None:
        """Return the acknowledged write with the highest version."""
        acknowledged = [attempt for attempt in self._attempts_on(key) if attempt.is_acknowledged]
        return max(acknowledged, key=lambda attempt: attempt.version or ZERO, default=None)

    def _check_is_known(self, key: str, entry: Entry) -> None:
        (attempt,) = (a for a in self._attempts_on(key) if a.value == entry.value)
        assert attempt.is_possible, f"a write that was answered {attempt.fate!r} can be read"
        assert attempt.version in (None, entry.version)

    def _check_acknowledged(self, key: str, entry: Entry) -> None:
        newest = self._newest(key)
        if newest is not None:
            assert entry.version >= (newest.version or ZERO), "an acknowledged write is lost"
        if entry.value is not None:
            self._check_is_known(key, entry)
        elif newest is not None and entry.version == newest.version:
            assert newest.value is None
        elif entry.version != ZERO:
            assert any(a.value is None and a.fate == "unknown" for a in self._attempts_on(key)), "deleted by nobody"

    def _check_refused_is_not_there(self, key: str) -> None:
        applied = [mutation.entry.value for mutation in self.stage.store.history if mutation.key == key]
        refused = {attempt.value for attempt in self._attempts_on(key) if not attempt.is_possible} - {None}
        assert refused.isdisjoint(applied), "a write that was answered as not done was done"
        versions = [mutation.version for mutation in self.stage.store.history if mutation.key == key]
        assert versions == sorted(set(versions)), "a version came back"

    async def _work(self, on: bool) -> None:
        if on:
            self.working = asyncio.create_task(self.stage.worker().run())
        elif self.working is not None:
            self.working.cancel()
            await asyncio.wait([self.working])
            self.working = None

    @staticmethod
    async def _soon(do: Any) -> Any:
        return do()


ServiceMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_the_service_keeps_its_promises_whatever_fails = pytest.mark.filterwarnings("default")(ServiceMachine.TestCase)
