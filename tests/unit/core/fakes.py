"""The three tiers as the contracts have them, in their smallest form, and failing on demand."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final, Literal, NoReturn, TypeVar

from kvcore import slots
from kvcore.backends import (
    Ability,
    CacheStats,
    Channel,
    Install,
    Limits,
    Listed,
    Message,
    Purged,
    QueueStats,
    Refresh,
    Reserve,
    Scanned,
    StoreStats,
)
from kvcore.errors import OverloadedError, UnavailableError
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version, is_final, judge
from kvcore.slots import Reservation, Slot

__all__ = ("EPOCH_MS", "FakeCache", "FakeQueue", "FakeStore", "Fault", "Faults", "loop_ms")

T = TypeVar("T")

EPOCH_MS: Final = 1_700_000_000_000

Fault = Literal["before", "after", "hang", "hang after", "full", "bug"]
"""A call fails before or after it has done what it was asked, or never returns, without or with having done it; or the
backend is full; or it raises what its contract does not allow."""


def loop_ms() -> int:
    """Return the time of the running loop as a wall clock, in Unix milliseconds."""
    return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)


class Faults:
    """What goes wrong with one backend: the faults planned for the next calls, and then `always`."""

    def __init__(self) -> None:
        self.always: Fault | None = None
        self.planned: deque[Fault | None] = deque()
        self.calls: Counter[str] = Counter()
        self._healed = asyncio.Event()

    def heal(self) -> None:
        """Let everything go well from now on; calls that hang lose their connection."""
        self.always = None
        self.planned.clear()
        self._healed.set()
        self._healed = asyncio.Event()

    async def around(self, name: str, do: Callable[[], T]) -> T:
        """Do it, unless a fault comes in between."""
        self.calls[name] += 1
        fault = self.planned.popleft() if self.planned else self.always
        healed = self._healed
        await asyncio.sleep(0)
        if fault == "hang":
            await _until_lost(healed)
        if fault == "before":
            raise UnavailableError("the server is down", outcome="not-applied")
        if fault == "full":
            raise OverloadedError("the server is full")
        if fault == "bug":
            raise KeyError("a bug in the backend")
        result = do()
        await asyncio.sleep(0)
        if fault == "hang after":
            await _until_lost(healed)
        if fault == "after":
            raise UnavailableError("the connection was lost")
        return result


async def _until_lost(healed: asyncio.Event) -> NoReturn:
    await healed.wait()
    raise UnavailableError("the connection was lost")


class FakeCache:
    """Slots in a dict."""

    abilities: ClassVar = frozenset({Ability.SHARED})

    def __init__(self) -> None:
        self.faults = Faults()
        self.slots: dict[str, tuple[Slot, int]] = {}

    def slot(self, key: str) -> Slot:
        """Return what is in a key's slot now."""
        slot, ends_ms = self.slots.get(key, (None, 0))
        return slot if loop_ms() < ends_ms else None

    def _move(self, key: str, slot: Slot, lifetime_ms: int) -> None:
        if slot is not self.slot(key):
            self.slots[key] = (slot, loop_ms() + lifetime_ms)

    async def read(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        return await self.faults.around("read", lambda: [slots.read(self.slot(key)) for key in keys])

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        def do() -> list[Reservation]:
            answers = []
            for one in asked:
                slot, answer = slots.reserve(self.slot(one.key), one.token, reader=one.reader)
                self._move(one.key, slot, one.lifetime_ms)
                answers.append(answer)
            return answers

        return await self.faults.around("reserve", do)

    async def install(self, installs: Sequence[Install]) -> None:
        def do() -> None:
            for one in installs:
                self._move(one.key, slots.install(self.slot(one.key), one.entry, one.token), one.lifetime_ms)

        await self.faults.around("install", do)

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        def do() -> None:
            for one in refreshes:
                slot = slots.refresh(self.slot(one.key), one.version, one.entry, one.token)
                self._move(one.key, slot, one.lifetime_ms)

        await self.faults.around("refresh", do)

    async def clear(self) -> None:
        await self.faults.around("clear", self.slots.clear)

    async def stats(self) -> CacheStats:
        return CacheStats(keys_count=len(self.slots), memory_used_bytes=0, hits=0, misses=0, evictions=0)

    async def ping(self) -> str:
        return await self.faults.around("ping", lambda: "a fake")


class FakeDelivery:
    """Messages in hand, until settled."""

    def __init__(self, queue: FakeQueue, messages: Sequence[Message]) -> None:
        self._queue = queue
        self.messages = messages
        self.settled = False

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        await self._queue.faults.around("settle", lambda: self._settle(outcomes))

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        self.settled = True
        for message, outcome in zip(self.messages, outcomes, strict=True):
            if outcome.verdict is Verdict.REJECTED:
                self._queue.dead.append((message.mutation, outcome.reason))
            for waiter in self._queue.submitted.pop(message.mutation.version, []):
                if not waiter.done():
                    waiter.set_result(outcome)


class FakeQueue:
    """Two lists and those who wait for them."""

    abilities: ClassVar = frozenset({Ability.SHARED, Ability.DURABLE})

    def __init__(self, bound: int = 10_000) -> None:
        self.faults = Faults()
        self.waiting: dict[Channel, list[Message]] = {"writes": [], "refreshes": []}
        self.in_hand: dict[Channel, int] = {"writes": 0, "refreshes": 0}
        self.submitted: dict[Version, list[asyncio.Future[Outcome]]] = {}
        self.dead: list[tuple[Mutation, str]] = []
        self.bound = bound
        self._arrived = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits and nothing is in anybody's hands."""
        return not any(self.waiting.values()) and not any(self.in_hand.values())

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        if len(self.waiting[channel]) + len(mutations) > self.bound:
            raise OverloadedError("the queue is full")
        messages = [Message(mutation) for mutation in mutations]
        await self.faults.around(f"publish {channel}", lambda: self._put(channel, len(self.waiting[channel]), messages))

    def _put(self, channel: Channel, place: int, messages: Sequence[Message]) -> None:
        self.waiting[channel][place:place] = messages
        self._arrived.set()

    async def submit(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        waiters = [asyncio.get_running_loop().create_future() for _ in mutations]
        for mutation, waiter in zip(mutations, waiters, strict=True):
            self.submitted.setdefault(mutation.version, []).append(waiter)
        await self.publish("writes", mutations)
        return [await waiter for waiter in waiters]

    @asynccontextmanager
    async def consume(self, channel: Channel, limit: int) -> AsyncIterator[AsyncIterator[FakeDelivery]]:
        taken: list[FakeDelivery] = []

        async def deliveries() -> AsyncGenerator[FakeDelivery, None]:
            while True:
                while not self.waiting[channel]:
                    self._arrived.clear()
                    await self._arrived.wait()
                delivery = await self.faults.around("take", lambda: self._take(channel, limit, taken))
                yield delivery
                if delivery.settled:
                    taken.remove(delivery)
                    self.in_hand[channel] -= len(delivery.messages)

        iterator = deliveries()
        try:
            yield iterator
        finally:
            await iterator.aclose()
            for delivery in taken:
                self.in_hand[channel] -= len(delivery.messages)
                if not delivery.settled:
                    self._put(channel, 0, [Message(m.mutation, redelivered=True) for m in delivery.messages])

    def _take(self, channel: Channel, limit: int, taken: list[FakeDelivery]) -> FakeDelivery:
        delivery = FakeDelivery(self, self.waiting[channel][:limit])
        del self.waiting[channel][:limit]
        self.in_hand[channel] += len(delivery.messages)
        taken.append(delivery)
        return delivery

    async def stats(self) -> QueueStats:
        waiting: dict[Channel, int] = {channel: len(messages) for channel, messages in self.waiting.items()}
        return QueueStats(waiting=waiting, unsettled=dict(self.in_hand), consumers={})

    async def ping(self) -> str:
        return await self.faults.around("ping", lambda: "a fake")


class FakeStore:
    """Entries in a dict, guarded by `judge`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.SHARED, Ability.DURABLE, Ability.LISTING, Ability.IDEMPOTENCY}
    )
    limits = Limits(max_key_bytes=65_536, max_value_bytes=1 << 20)

    def __init__(self) -> None:
        self.faults = Faults()
        self.entries: dict[str, Entry] = {}
        self.poison: set[bytes] = set()
        self.bugs: set[bytes] = set()
        """Values that this store rejects."""
        self.answered: dict[bytes, Outcome] = {}
        self.history: list[Mutation] = []
        """What has changed an entry, in that order."""
        self.forgettable = 0
        """How much a purge finds to remove."""

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        return await self.faults.around("get", lambda: [self.entries.get(key) for key in keys])

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        assert len({mutation.key for mutation in mutations}) == len(mutations), "a key appears once in a call"
        return await self.faults.around("apply", lambda: [self._apply(mutation) for mutation in mutations])

    def _apply(self, mutation: Mutation) -> Outcome:
        if mutation.entry.value in self.bugs:
            raise KeyError("a bug in the backend")
        if mutation.entry.value in self.poison:
            return Outcome(Verdict.REJECTED, reason="poison")
        if mutation.request_id in self.answered:
            return self.answered[mutation.request_id]
        held = self.entries.get(mutation.key)
        outcome = judge(mutation, held, loop_ms())
        if mutation.request_id and is_final(mutation, outcome):
            self.answered[mutation.request_id] = outcome
        if outcome.verdict is Verdict.APPLIED:
            if held is None or held.version != mutation.version:
                self.history.append(mutation)
            self.entries[mutation.key] = mutation.entry
        return outcome

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        def do() -> Scanned:
            listed = [
                Listed(key, entry.version, len(entry.value), entry.media_type, entry.expires_at_ms)
                for key, entry in sorted(self.entries.items())
                if key.startswith(prefix)
                and key > (after or "")
                and entry.value is not None
                and entry.is_live(loop_ms())
            ]
            return Scanned(listed[:limit], listed[limit - 1].key if len(listed) > limit else None)

        return await self.faults.around("scan", do)

    async def purge(self, before: Version, limit: int) -> Purged:
        return await self.faults.around("purge", self._purge)

    def _purge(self) -> Purged:
        removed, self.forgettable = self.forgettable, 0
        return Purged(removed, more=False)

    async def stats(self) -> StoreStats:
        return StoreStats()

    async def ping(self) -> str:
        return await self.faults.around("ping", lambda: "a fake")
