"""Every interleaving of what can happen to one key, over the very functions that the product runs on.

The actors: writers (through the queue, straight to the store, or both when a confirm went missing), readers, competing workers, an
evictor, an outage of the cache, and crashes of API nodes and workers, whose messages are delivered again. What happens to the slot
is decided by `kvcore.slots`, what happens to the store by `kvcore.model.judge`, and what the cache is told by
`kvcore.applying.refreshes`. Versions are dealt out beforehand, so every order of version against real time is covered: clocks
need not agree.

At rest, when nothing is left to do, the store has the newest acknowledged version, and the slot is absent, a lease, or the version
that the store has. At any time, what a reader can find in the cache was accepted.

Left out, since it changes nothing for anybody else: a reader that was not granted the lease (it reads the store and leaves).
Readers are alike, and so are workers, so states that differ only by who is who are visited once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, TypeVar

from kvcore import slots
from kvcore.applying import Lifetimes, Write, refreshes
from kvcore.backends import Refresh
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version, judge
from kvcore.settings import CacheSettings
from kvcore.slots import Lease, Reservation, Slot

__all__ = ("AMBIGUOUS", "DIRECT", "EARLY", "PROMPT", "QUEUED", "Explored", "Rules", "Setting", "explore")

Act = Literal["reserves", "publishes", "installs", "publishes and installs", "commits", "refreshes"]
Path = tuple[Act, ...]

QUEUED: Path = ("reserves", "publishes", "installs")
DIRECT: Path = ("reserves", "commits", "refreshes")
AMBIGUOUS: Path = ("reserves", "publishes", "commits", "refreshes")
"""The confirm of the queue went missing, so the writer goes to the store too."""
PROMPT: Path = ("reserves", "publishes and installs")
"""Nothing comes between the confirm and the install."""
EARLY: Path = ("reserves", "installs", "publishes")
"""Not a path of the product: it shows why the install comes last."""

_ACCEPTING = frozenset({"publishes", "publishes and installs", "commits"})


@dataclass(frozen=True)
class Rules:
    """The protocol's functions; a mutant replaces one of them."""

    reserve: Callable[..., tuple[Slot, Reservation]] = slots.reserve
    install: Callable[[Slot, Entry, str], Slot] = slots.install
    refresh: Callable[[Slot, Version, Entry | None, str], Slot] = slots.refresh
    judge: Callable[[Mutation, Entry | None, int], Outcome] = judge
    refreshes: Callable[..., list[Refresh]] = refreshes


@dataclass(frozen=True)
class Setting:
    """Who takes part, and how often each thing may go wrong."""

    writers: tuple[Path, ...] = (QUEUED, QUEUED)
    readers: int = 2
    workers: int = 2
    evictions: int = 2
    api_crashes: int = 1
    worker_crashes: int = 1
    put_off: int = 0
    """Refreshes that go to the channel "refreshes", since the worker cannot reach the cache."""
    lost: int = 0
    """Refreshes that a worker forgets. The product's never does."""
    rejected: int = 0
    """The version that the store rejects; 0: none."""


class Explored(NamedTuple):
    """How many states there are; what is wrong, if anything, and the shortest way there."""

    states: int
    fault: str | None = None
    trace: tuple[str, ...] = ()


class Writer(NamedTuple):
    """`done` counts the acts of its path; `stored` is what the store held after its commit."""

    done: int = 0
    stored: int = 0
    crashed: bool = False


class Reader(NamedTuple):
    """starts → leased → read → left; `found` is what the store held."""

    at: Literal["starts", "leased", "read", "left"]
    found: int = 0


class Job(NamedTuple):
    """A message in a worker's hands; `stored` is what the store held after the commit, None before it."""

    number: int
    stored: int = -1


class Chances(NamedTuple):
    """What may still go wrong."""

    evictions: int
    api_crashes: int
    worker_crashes: int
    put_off: int
    lost: int


class State(NamedTuple):
    """Everything there is. Versions are numbers; the queue, the channel and the jobs are sorted: their order means nothing."""

    store: int
    queue: tuple[int, ...]
    channel: tuple[Version, ...]
    slot: Slot
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    jobs: tuple[Job, ...]
    chances: Chances


Step = tuple[str, State]

_LIFETIMES = Lifetimes(CacheSettings(backend="none"))


def _version(number: int) -> Version:
    """Versions are two apart: between two of them there is room for "just above"."""
    return Version(f"{2 * number:024x}")


def _number(version: Version) -> int:
    return int(version, 16) // 2


@cache
def _entry(number: int) -> Entry:
    return Entry(_version(number), b"value") if number else Entry(ZERO)


def explore(setting: Setting, rules: Rules) -> Explored:
    """Visit every state that can be reached, nearest first, until one is wrong."""
    model = _Model(setting, rules)
    first = model.first()
    came_from: dict[State, Step | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        if fault := model.fault(state):
            return Explored(len(came_from), fault, _trace(came_from, state))
        for label, following in model.steps(state):
            if following not in came_from:
                came_from[following] = (label, state)
                waiting.append(following)
    return Explored(len(came_from))


def _trace(came_from: dict[State, Step | None], state: State) -> tuple[str, ...]:
    labels: list[str] = []
    while came := came_from[state]:
        label, state = came
        labels.append(label)
    return tuple(reversed(labels))


class _Model:
    """The steps that the actors can take. The product's functions are pure, so each question is put to them once."""

    def __init__(self, setting: Setting, rules: Rules) -> None:
        self._setting = setting
        self._rules = rules
        self._reserve = cache(rules.reserve)
        self._install = cache(rules.install)
        self._commit = cache(self._committed)
        self._told = cache(self._what_is_told)
        self._refreshed = cache(self._slot_refreshed)

    def first(self) -> State:
        """Return the state in which nothing has happened."""
        of = self._setting
        chances = Chances(of.evictions, of.api_crashes, of.worker_crashes, of.put_off, of.lost)
        writers, readers = (Writer(),) * len(of.writers), (Reader("starts"),) * of.readers
        return State(0, (), (), None, writers, readers, (), chances)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield what can happen next, by name, and the state after it."""
        for number in range(1, len(state.writers) + 1):
            yield from self._writer(state, number)
        for i in range(len(state.readers)):
            yield from self._reader(state, i)
        if len(state.jobs) < self._setting.workers:
            for number in dict.fromkeys(state.queue):
                jobs = _with(state.jobs, Job(number))
                yield f"K takes v{number}", state._replace(queue=_without(state.queue, number), jobs=jobs)
        for job in dict.fromkeys(state.jobs):
            yield from self._worker(state, job)
        for version in dict.fromkeys(state.channel):
            yield from self._late_refresh(state, version)
        if state.slot is not None and (left := _less(state.chances, "evictions")):
            yield "eviction", state._replace(slot=None, chances=left)

    def fault(self, state: State) -> str | None:
        """Say what is wrong with a state, if anything is."""
        cached = _number(state.slot.version) if isinstance(state.slot, Entry) else None
        if cached and not self._accepted(state, cached):
            return f"a reader can see v{cached}, which was not accepted"
        if not self._at_rest(state):
            return None
        answered = (n for n in range(1, len(state.writers) + 1) if self._answered(state, n))
        newest = max((n for n in answered if n != self._setting.rejected), default=0)
        if state.store < newest:
            return f"the acknowledged v{newest} is lost: the store has v{state.store}"
        if cached is not None and cached != state.store:
            return f"stale: the cache has v{cached}, the store v{state.store}"
        return None

    def _accepted(self, state: State, number: int) -> bool:
        return not _ACCEPTING.isdisjoint(self._setting.writers[number - 1][: state.writers[number - 1].done])

    def _answered(self, state: State, number: int) -> bool:
        return state.writers[number - 1].done == len(self._setting.writers[number - 1])

    def _at_rest(self, state: State) -> bool:
        if state.queue or state.jobs or state.channel or any(reader.at != "left" for reader in state.readers):
            return False
        return all(writer.crashed or self._answered(state, n) for n, writer in enumerate(state.writers, 1))

    # --- writers ------------------------------------------------------------------------------------------------------

    def _writer(self, state: State, number: int) -> Iterator[Step]:
        writer = state.writers[number - 1]
        if writer.crashed or self._answered(state, number):
            return
        act = self._setting.writers[number - 1][writer.done]
        yield f"W{number} {act}", self._after(act, state, number, writer)
        if writer.done and (left := _less(state.chances, "api_crashes")):
            writers = _put(state.writers, number - 1, Writer(writer.done, crashed=True))
            yield f"W{number} crashes", state._replace(writers=writers, chances=left)

    def _after(self, act: Act, state: State, number: int, writer: Writer) -> State:
        store, queue, slot, token, stored = state.store, state.queue, state.slot, f"w{number}", 0
        match act:
            case "reserves":
                slot, _ = self._reserve(slot, token, reader=False)
            case "publishes":
                queue = _with(queue, number)
            case "installs":
                slot = self._install(slot, _entry(number), token)
            case "publishes and installs":
                queue, slot = _with(queue, number), self._install(slot, _entry(number), token)
            case "commits":
                store, stored = self._commit(store, number)
            case "refreshes":
                slot = self._refreshed(slot, number, writer.stored, token)
        writers = _put(state.writers, number - 1, Writer(writer.done + 1, stored))
        return state._replace(store=store, queue=queue, slot=slot, writers=writers)

    # --- readers ------------------------------------------------------------------------------------------------------

    def _reader(self, state: State, i: int) -> Iterator[Step]:
        reader, token = state.readers[i], f"r{i}"
        if reader.at == "starts":
            slot, lease = self._reserve(state.slot, token, reader=True)
            name = "hits" if slots.read(state.slot) else "misses"
            yield f"R{i + 1} {name}", _seated(state, i, Reader("leased" if lease.granted else "left"), slot)
        elif reader.at == "leased":
            found = state.store
            yield f"R{i + 1} reads v{found}", _seated(state, i, Reader("read", found), state.slot)
        elif reader.at == "read":
            slot = self._install(state.slot, _entry(reader.found), token)
            yield f"R{i + 1} fills v{reader.found}", _seated(state, i, Reader("left"), slot)
        if reader.at in ("leased", "read") and (left := _less(state.chances, "api_crashes")):
            yield f"R{i + 1} crashes", _seated(state._replace(chances=left), i, Reader("left"), state.slot)

    # --- workers ------------------------------------------------------------------------------------------------------

    def _worker(self, state: State, job: Job) -> Iterator[Step]:
        name, others = f"v{job.number}", _without(state.jobs, job)
        without = state._replace(jobs=others)
        if job.stored < 0:
            store, stored = self._commit(state.store, job.number)
            yield f"K commits {name}", state._replace(store=store, jobs=_with(others, Job(job.number, stored)))
        else:
            slot = self._refreshed(state.slot, job.number, job.stored, "")
            yield f"K refreshes {name}, acknowledges", without._replace(slot=slot)
            if left := _less(state.chances, "worker_crashes"):
                queue = _with(state.queue, job.number)
                yield f"K refreshes {name}, crashes", without._replace(slot=slot, queue=queue, chances=left)
            if left := _less(state.chances, "put_off"):
                channel = _with(state.channel, self._told(job.number, job.stored, "").version)
                yield f"K puts {name}'s refresh off, acknowledges", without._replace(channel=channel, chances=left)
            if left := _less(state.chances, "lost"):
                yield f"K forgets {name}'s refresh, acknowledges", without._replace(chances=left)
        if left := _less(state.chances, "worker_crashes"):
            yield f"K crashes with {name}", without._replace(queue=_with(state.queue, job.number), chances=left)

    def _late_refresh(self, state: State, version: Version) -> Iterator[Step]:
        slot = self._rules.refresh(state.slot, version, None, "")
        name = f"the refresh of v{_number(version)} comes"
        yield name, state._replace(slot=slot, channel=_without(state.channel, version))
        if left := _less(state.chances, "worker_crashes"):
            yield f"{name}, and will come again", state._replace(slot=slot, chances=left)

    # --- the product's functions, by number -----------------------------------------------------------------------------

    def _committed(self, store: int, number: int) -> tuple[int, int]:
        """Return what the store holds after an apply, and what it answers that it holds."""
        if number == self._setting.rejected:
            return store, store
        outcome = self._rules.judge(Mutation("key", _entry(number)), _entry(store) if store else None, 0)
        return number if outcome.verdict is Verdict.APPLIED else store, _number(outcome.version)

    def _what_is_told(self, number: int, stored: int, token: str) -> Refresh:
        verdict = Verdict.REJECTED if number == self._setting.rejected else Verdict.APPLIED
        write = Write(Mutation("key", _entry(number)), token)
        (refresh,) = self._rules.refreshes([write], [Outcome(verdict, _version(stored))], _LIFETIMES)
        return refresh

    def _slot_refreshed(self, slot: Slot, number: int, stored: int, token: str) -> Slot:
        told = self._told(number, stored, token)
        return self._rules.refresh(slot, told.version, told.entry, told.token)


def _less(chances: Chances, what: str) -> Chances | None:
    """Return the chances that are left when one is taken, or None when there is none to take."""
    left: int = getattr(chances, what)
    return chances._replace(**{what: left - 1}) if left else None


def _seated(state: State, i: int, reader: Reader, slot: Slot) -> State:
    """Let a reader go on, and seat the readers in a fixed order; a lease goes along with who holds it."""
    readers = _put(state.readers, i, reader)
    order = sorted(range(len(readers)), key=readers.__getitem__)
    if isinstance(slot, Lease) and slot.token[0] == "r":
        slot = _reader_lease(order.index(int(slot.token[1:])))
    return state._replace(readers=tuple(readers[i] for i in order), slot=slot)


@cache
def _reader_lease(i: int) -> Lease:
    return Lease(f"r{i}")


T = TypeVar("T")
S = TypeVar("S", bound="int | str | Job")


def _put(items: tuple[T, ...], i: int, item: T) -> tuple[T, ...]:
    return (*items[:i], item, *items[i + 1 :])


def _with(items: tuple[S, ...], item: S) -> tuple[S, ...]:
    return tuple(sorted((*items, item)))


def _without(items: tuple[S, ...], item: S) -> tuple[S, ...]:
    i = items.index(item)
    return (*items[:i], *items[i + 1 :])
