"""The three contracts that a backend can fulfil: `Cache`, `Queue`, `Store`.

Every method takes and returns **many**: the core joins what arrives at the same time into one call, so a backend is one
bulk call to its server per method. For all three kinds:

* An answer has as many items as the question, in the same order.
* Keys are text of 1 to 65,536 bytes in UTF-8, without NUL. Within one call to `Store.apply` a key appears once; in all
  others it may be repeated, and what is asked of it is done in the order given.
* Methods are called concurrently, from one event loop. They may be cancelled at any await; what they had sent may then
  have happened or not, and the backend stays usable.
* A method raises `UnavailableError`, with its `outcome`, when its server cannot be reached or cannot serve now, and
  never an exception of its driver. The core puts a deadline around each call, so a backend needs none for its own sake.
* Any server may be away at any time, also while a node starts: opening a backend does not need its server. It is
  looked for in the background or by the first call, and `ping` tells.
* Times are Unix milliseconds, lifetimes milliseconds.

A backend class declares in `abilities` what it can do beyond its contract. The conformance suites in `kvcore.testing`
test what is declared, and that what is not declared is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from kvcore.errors import UnsupportedError
from kvcore.model import Entry, Mutation, Outcome, Version
from kvcore.slots import Reservation

__all__ = (
    "MAX_KEY_BYTES",
    "Ability",
    "Cache",
    "CacheStats",
    "Channel",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Diagnosis",
    "Factory",
    "Finding",
    "Install",
    "Kind",
    "Limits",
    "Listed",
    "Listing",
    "Message",
    "PoolStats",
    "Pooled",
    "Prefetching",
    "Purged",
    "Queue",
    "QueueStats",
    "Refresh",
    "Reserve",
    "Scanned",
    "Store",
    "StoreStats",
    "dead_letters_of",
    "listing_of",
    "pool_of",
    "prefetching_of",
)

MAX_KEY_BYTES: Final = 65_536

Kind = Literal["cache", "queue", "store"]
Channel = Literal["writes", "refreshes"]


class Ability(StrEnum):
    """What a backend may be able to do beyond the contract of its kind."""

    DURABLE = "durable"
    """What was confirmed survives the end of every process of kvcore, and of the server's as far as its vendor promises."""
    SHARED = "shared"
    """Several nodes opened with the same settings see the same data."""
    DEAD_LETTERS = "dead-letters"
    """A queue keeps what the store rejected, to be listed, replayed or discarded: see `DeadLetters`."""
    PREFETCHING = "prefetching"
    """A queue's consumers receive messages before they are asked for, and can stop that: see `Prefetching`."""
    LISTING = "listing"
    """A store lists its keys by prefix, in order: see `Listing`."""
    IDEMPOTENCY = "idempotency"
    """A store answers a request that is sent again as it did the first time: see `Store.apply`."""
    POOL = "pool"
    """A backend tells of its connections: see `Pooled`."""


# --- cache ------------------------------------------------------------------------------------------------------------


class Reserve(msgspec.Struct, frozen=True, gc=False):
    """Ask for the lease on a key: as a writer, which takes over another's lease, or as a reader, which does not."""

    key: str
    token: str
    reader: bool
    lifetime_ms: int


class Install(msgspec.Struct, frozen=True, gc=False):
    """Fill a key with an entry, by the token of a lease."""

    key: str
    entry: Entry
    token: str
    lifetime_ms: int


class Refresh(msgspec.Struct, frozen=True, gc=False):
    """Bring a key in step with the store, which holds `version`; `entry` is that version's, where it is at hand."""

    key: str
    version: Version
    entry: Entry | None
    lifetime_ms: int
    token: str = ""


class CacheStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A cache in numbers. None: unlimited, or not known to this backend. Counters run since the server's start."""

    keys_count: int
    max_keys: int | None = None
    memory_used_bytes: int
    max_memory_bytes: int | None = None
    hits: int
    misses: int
    evictions: int


class Cache(Protocol):
    """Slots that hold an entry or a lease, each for a lifetime; the transitions are those of `kvcore.slots`.

    Each operation is atomic per key. A cache may forget any slot at any time. It must never bring back a slot that it
    has forgotten or replaced, as a restart from an old snapshot or a failover to a lagging replica would do.
    """

    abilities: ClassVar[frozenset[Ability]]

    async def read(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """Return each key's entry, tombstones and entries at `ZERO` included; None where a slot is absent or a lease."""
        ...

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        """Take leases, as `slots.reserve`."""
        ...

    async def install(self, installs: Sequence[Install]) -> None:
        """Fill slots, as `slots.install`. An entry larger than the cache can hold may be left out: the slot becomes absent."""
        ...

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        """Bring slots in step with the store, as `slots.refresh`. Returns only when every one has been done."""
        ...

    async def clear(self) -> None:
        """Forget every slot."""
        ...

    async def stats(self) -> CacheStats:
        """Return the cache in numbers."""
        ...

    async def ping(self) -> str:
        """Return what serves, such as "Redis 7.0.15, master 10.0.0.4:6379"; raise `UnavailableError` when it cannot serve."""
        ...


# --- queue ------------------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, gc=False):
    """A mutation in the hands of a consumer; `redelivered` when it may have been in other hands before."""

    mutation: Mutation
    redelivered: bool = False


class Delivery(Protocol):
    """Messages in the hands of one consumer, until it settles them or goes away."""

    @property
    def messages(self) -> Sequence[Message]:
        """The messages, oldest first: at least one, at most as many as the consumer asked for."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """End the delivery, with one outcome for each message.

        In this order: whatever was rejected goes to the dead letters, with its reason, where the queue has that
        ability; those who wait in `submit` get their outcomes; all messages are acknowledged. When it raises, messages
        may come again.
        """
        ...


class QueueStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A queue in numbers: by channel what waits, what is in the hands of consumers, and how many these are.

    A queue may count what was published in one call as one, and of what is in the hands of consumers those of this process
    only. None: not known to this backend.
    """

    waiting: dict[Channel, int]
    unsettled: dict[Channel, int] | None = None
    consumers: dict[Channel, int]
    dead_letters: int | None = None


class Queue(Protocol):
    """A log of mutations on two channels, delivered at least once, roughly in order.

    Channel "writes" carries what the store shall apply; "refreshes" carries what a cache that could not be reached has
    missed (key and version alone are meant).
    """

    abilities: ClassVar[frozenset[Ability]]

    async def publish(self, channel: Channel, mutations: Sequence[Mutation]) -> None:
        """Put mutations on a channel; return when the queue has confirmed that it keeps all of them.

        Raises:
            OverloadedError: the queue is full; none of them is kept.
            UnavailableError: with outcome "unknown" unless certainly none is kept.
        """
        ...

    async def submit(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Put mutations on "writes" and wait for the outcomes that a worker settles them with.

        A caller that stops waiting takes nothing back.

        Raises:
            OverloadedError: the queue is full; none of them is kept.
            UnavailableError: with outcome "unknown" unless certainly none is kept; also when the queue is closed before
                the outcomes are there.
        """
        ...

    def consume(self, channel: Channel, limit: int) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Enter to become a consumer of a channel: one of any number, who compete.

        The iterator waits for messages and yields deliveries of at most `limit`. Leaving gives back, soon, what was not
        settled; so does the end of the process. It raises `UnavailableError` when the server cannot be reached; enter
        again then.
        """
        ...

    async def stats(self) -> QueueStats:
        """Return the queue in numbers."""
        ...

    async def ping(self) -> str:
        """Return what serves, as for `Cache.ping`; raise `UnavailableError` when it cannot take messages."""
        ...


class Prefetching(AsyncIterable[Delivery], Protocol):
    """The ability PREFETCHING of a queue, which the iterators of its `consume` have.

    A worker that ends calls `stop`, and handles what it has received. Given back instead, that would come to another worker as
    redelivered, and nobody would know that it had no effect: whoever waits for its outcome could be told that it is unknown.
    """

    async def stop(self) -> None:
        """Receive nothing more. What was received is still yielded; then the iteration ends.

        Raises:
            UnavailableError: the server cannot be reached.
        """
        ...


def prefetching_of(queue: Queue, deliveries: AsyncIterator[Delivery]) -> Prefetching:
    """Return what `queue.consume` has given, to be stopped.

    Raises:
        UnsupportedError: consumers of this queue receive nothing before they ask for it.
    """
    if Ability.PREFETCHING not in queue.abilities:
        raise UnsupportedError(f"{type(queue).__name__} does not prefetch; choose a queue with that ability")
    return deliveries  # type: ignore[return-value]  # declared in `abilities`, and tested by the conformance suite


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A mutation that the store rejected, with the reason that it gave; `id` names it within its queue."""

    id: str
    mutation: Mutation
    reason: str


class DeadLetters(Protocol):
    """The ability DEAD_LETTERS of a queue. Ids that are not there (any more) are passed over."""

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Return up to `limit` dead letters, oldest first; a queue may put those behind the others that have been looked at."""
        ...

    async def replay(self, ids: Sequence[str]) -> int:
        """Put dead letters back on the channel "writes"; return how many."""
        ...

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget dead letters for good; return how many."""
        ...


def dead_letters_of(queue: Queue) -> DeadLetters:
    """Return a queue's dead letters.

    Raises:
        UnsupportedError: this queue does not keep any.
    """
    if Ability.DEAD_LETTERS not in queue.abilities:
        raise UnsupportedError(f"{type(queue).__name__} does not keep dead letters; choose a queue with that ability")
    return queue  # type: ignore[return-value]  # declared in `abilities`, and tested by the conformance suite


# --- store ------------------------------------------------------------------------------------------------------------


class Limits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The largest key (bytes of UTF-8) and value (bytes) that a store takes."""

    max_key_bytes: int
    max_value_bytes: int


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A line of a listing: a key that exists, and what is known of its value without reading it."""

    key: str
    version: Version
    size_bytes: int
    media_type: str
    expires_at_ms: int | None


class Scanned(msgspec.Struct, frozen=True, gc=False):
    """A part of a listing. `after`: where to go on, a key that was looked at, there or not; None: there is no more."""

    listed: Sequence[Listed]
    after: str | None


class StoreStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A store in numbers; None: not known to this backend at a small cost."""

    size_bytes: int | None = None
    newest: Version | None = None


class Purged(msgspec.Struct, frozen=True, gc=False):
    """How many entries a purge has removed, and whether there may be `more` for the next call."""

    removed: int
    more: bool


class Store(Protocol):
    """The keys' entries at rest, tombstones included, each at the highest version that was applied.

    `limits` is what the server takes; the core enforces the lower of it and the configured limits.
    """

    abilities: ClassVar[frozenset[Ability]]

    @property
    def limits(self) -> Limits:
        """The largest key and value that `apply` takes; what is larger, it rejects.

        A store that has not met its server yet promises no more than the least that any of its servers takes.
        """
        ...

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """Return what is held for each key, as it is: tombstones and expired entries included; None for nothing.

        What a finished `apply` has applied is seen by every `get` that begins afterwards.
        """
        ...

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Apply mutations, each as `kvcore.model.judge` decides, atomically per key; return when all of it is kept.

        Applying a mutation again changes nothing. One that the store refuses is REJECTED with a reason, and the others
        are applied. A store that repeats a call whose fate it does not know says UNKNOWN where it then finds CONFLICT
        or SUPERSEDED: the first try may have been applied, and something newer may have come since.

        With the ability IDEMPOTENCY, an outcome that `kvcore.model.is_final` is remembered with the mutation's
        `request_id`, where it has one, atomically with what it tells. A mutation whose `request_id` is remembered changes
        nothing and gets that outcome, however often, whatever its own version; so UNKNOWN is never said of it. A store
        without the ability is given no `request_id`.
        """
        ...

    async def purge(self, before: Version, limit: int) -> Purged:
        """Remove up to `limit` tombstones written, and entries expired, before the time of a version.

        Outcomes remembered for a `request_id` are forgotten when the mutation that they were given to is older than that;
        `Purged` counts them too.

        A call looks for a part of a second at most, and the next one looks on from there.
        """
        ...

    async def stats(self) -> StoreStats:
        """Return the store in numbers."""
        ...

    async def ping(self) -> str:
        """Return what serves, as for `Cache.ping`; raise `UnavailableError` when it cannot read and write."""
        ...


class Listing(Protocol):
    """The ability LISTING of a store."""

    async def scan(self, prefix: str, after: str | None, limit: int) -> Scanned:
        """Return up to `limit` keys that exist now, begin with `prefix` and come after `after`, in byte order of UTF-8.

        Tombstones and expired entries are not listed. A call looks for a part of a second at most, however many of these
        there are: it may return fewer than `limit` keys, or none, and say where to go on.
        """
        ...


def listing_of(store: Store) -> Listing:
    """Return a store's listing.

    Raises:
        UnsupportedError: this store cannot list its keys.
    """
    if Ability.LISTING not in store.abilities:
        raise UnsupportedError(f"{type(store).__name__} cannot list its keys; choose a store with that ability")
    return store  # type: ignore[return-value]  # declared in `abilities`, and tested by the conformance suite


# --- connections ------------------------------------------------------------------------------------------------------


class PoolStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The connections over which a backend makes its calls, as they are now; those with which it only watches do not count.

    `open` are established, and `in_use` those of them on which something is under way. When as many as `limit` are, calls
    wait for one; None: they never do, since a connection carries any number of them. `retries`: what the backend has tried
    again by itself since it was opened, a statement or to connect.
    """

    open: int
    in_use: int
    limit: int | None
    retries: int


class Pooled(Protocol):
    """The ability POOL of a backend of any kind."""

    def pool(self) -> PoolStats:
        """Return the numbers, at once: it is asked whenever metrics are."""
        ...


def pool_of(backend: Cache | Queue | Store) -> Pooled:
    """Return a backend's connections.

    Raises:
        UnsupportedError: this backend does not tell of any.
    """
    if Ability.POOL not in backend.abilities:
        raise UnsupportedError(f"{type(backend).__name__} does not tell of connections")
    return backend  # type: ignore[return-value]  # declared in `abilities`, and tested by the conformance suite


# --- factories --------------------------------------------------------------------------------------------------------

B = TypeVar("B", Cache, Queue, Store)


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that was looked at, for whoever has to mend it.

    `about` is a short name of what was looked at ("sentinel 10.0.0.7:26379", "queue kvcore.writes"); `what` says what is
    so, `evidence` how that is known (the server's own words), and `remedy` what to do: both empty where all is well.
    """

    level: Literal["ok", "warning", "error"]
    about: str
    what: str
    evidence: str = ""
    remedy: str = ""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was found about a tier's servers; `ahead_ms`: how far the clock of each is ahead of this machine's, by name."""

    findings: Sequence[Finding]
    ahead_ms: dict[str, int] = {}


class Factory(msgspec.Struct, Generic[B], frozen=True, kw_only=True):
    """How to make a backend: what a plugin registers, and the configuration chooses by `name`.

    `settings` is a frozen msgspec Struct whose fields all have defaults or are required on purpose; its table is
    `[<kind>.<name>]` in the configuration file. `open` takes it and returns an async context manager that yields the
    ready backend and closes it on leaving. Opening raises `SettingsError` where the settings cannot work, with what to
    do, and `UnavailableError` where they could; it does not raise for a server that is away.

    Two functions are for operators, and given by backends that have servers. `diagnose` takes the settings, looks at
    every server, and says what is wrong; it never raises for what it finds. `migrate` takes the settings, brings the
    schema of the server up to date, and returns the names of the migrations that it has applied; several may run at
    once.
    """

    name: str
    backend: type[Any]
    settings: type[msgspec.Struct]
    open: Callable[[Any], AbstractAsyncContextManager[B]]
    diagnose: Callable[[Any], Coroutine[Any, Any, Diagnosis]] | None = None
    migrate: Callable[[Any], Coroutine[Any, Any, Sequence[str]]] | None = None

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the backend declares."""
        declared: frozenset[Ability] = self.backend.abilities
        return declared
