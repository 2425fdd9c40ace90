"""What clients did and saw while something failed, and the rules that it must obey.

Clients write values of which no two are alike, so that a value names the write that it comes from. `check` looks at the
whole history at once and needs nothing else: no server, no clock. A write that got no answer, or `outcome: unknown`, may
have happened or not; every rule holds whichever it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from kvcore.model import ZERO

__all__ = ("Fate", "Found", "History", "Read", "Rule", "Violation", "Write", "check")


class Fate(StrEnum):
    """What the client of a write was told."""

    ACKNOWLEDGED = "acknowledged"
    CONFLICT = "conflict"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A PUT of `value`, or a DELETE (None). Times are monotonic seconds, `version` is that of the acknowledgement.

    `expected` is the condition: None for a plain write, `ZERO` for "must not exist", else the version in If-Match.
    """

    client: str
    key: str
    value: str | None
    began_s: float
    ended_s: float
    fate: Fate
    version: str = ZERO
    expected: str | None = None

    @property
    def may_have_happened(self) -> bool:
        """Tell whether the key may have had this value at some time."""
        return self.fate in (Fate.ACKNOWLEDGED, Fate.UNKNOWN)


class Found(msgspec.Struct, frozen=True):
    """A key's value and version; (None, ZERO) where it does not exist: the API gives no version then."""

    value: str | None = None
    version: str = ZERO


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A GET; `found` is None if it was not answered 200 or 404. `in_session`: it sent the newest version that its client knew."""

    client: str
    key: str
    began_s: float
    ended_s: float
    found: Found | None
    in_session: bool = False


class History(msgspec.Struct, kw_only=True):
    """Everything that clients did, and what was found when all was at rest.

    `stored` is what the store has, by key; a key is absent there if it did not reach the highest version acknowledged for it.
    `cached` is what the cache has, where it has anything.
    """

    writes: list[Write] = []
    reads: list[Read] = []
    stored: dict[str, Found] = {}
    cached: dict[str, Found] = {}

    @property
    def operations(self) -> list[Write | Read]:
        """All that clients did, in no order."""
        return [*self.writes, *self.reads]


class Rule(StrEnum):
    """What must never happen."""

    LOST = "an acknowledged write is lost"
    INVENTED = "a value is seen that nobody had written"
    REFUSED = "a value is seen whose write was refused"
    MISMATCH = "a version and a value belong to different writes"
    STALE_CACHE = "the cache differs from the store at rest"
    WENT_BACK = "a session is shown something older than it has seen"
    TWO_WINNERS = "two conditional writes win the same race"
    NO_WINNER = "everybody loses a race in which nobody wins"
    OUT_OF_ORDER = "a write is older than one that was acknowledged before it began"


class Violation(msgspec.Struct, frozen=True):
    """A rule that a key's history breaks, and how."""

    rule: Rule
    key: str
    how: str


class _Key(msgspec.Struct, kw_only=True):
    """The part of a history that is about one key; what is at rest counts as a read of nobody, at the end."""

    writes: list[Write]
    reads: list[Read]
    stored: Found | None
    cached: Found | None

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.fate is Fate.ACKNOWLEDGED]

    @property
    def sightings(self) -> Iterator[tuple[Found, float]]:
        """Yield each value that was seen, and when its reading ended."""
        for read in self.reads:
            if read.found is not None and read.found.value is not None:
                yield read.found, read.ended_s
        for found in (self.stored, self.cached):
            if found is not None and found.value is not None:
                yield found, float("inf")

    @property
    def may_be_deleted_by_unknown(self) -> bool:
        return any(write.fate is Fate.UNKNOWN and write.value is None for write in self.writes)


def check(history: History) -> list[Violation]:
    """Return every violation; none means that what was promised was kept."""
    rules = (_lost, _seen, _stale_cache, _went_back, _races, _chain, _out_of_order)
    return [
        Violation(rule, name, how)
        for name, key in sorted(_by_key(history).items())
        for found in rules
        for rule, how in found(key)
    ]


def _by_key(history: History) -> dict[str, _Key]:
    writes: defaultdict[str, list[Write]] = defaultdict(list)
    reads: defaultdict[str, list[Read]] = defaultdict(list)
    for write in history.writes:
        writes[write.key].append(write)
    for read in history.reads:
        reads[read.key].append(read)
    return {
        key: _Key(writes=writes[key], reads=reads[key], stored=history.stored.get(key), cached=history.cached.get(key))
        for key in {*writes, *reads, *history.stored, *history.cached}
    }


_Broken = Iterator[tuple[Rule, str]]


def _lost(key: _Key) -> _Broken:
    """The store ends with the acknowledged write of the highest version, or with a newer one that nobody was told about."""
    newest = max(key.acknowledged, key=lambda write: write.version, default=None)
    if newest is None:
        return
    stored = key.stored
    if stored is None:
        yield Rule.LOST, f"{_told(newest)}, and the store has not reached that version"
    elif stored.value is None:
        if newest.value is not None and not key.may_be_deleted_by_unknown:
            yield Rule.LOST, f"{_told(newest)}, and the store has nothing"
    elif stored.version < newest.version:
        yield Rule.LOST, f"{_told(newest)}, and the store has version {stored.version}"


def _seen(key: _Key) -> _Broken:
    """Whatever is seen was written before, was not refused, and keeps its version."""
    writes = {write.value: write for write in key.writes if write.value is not None}
    value_of: dict[str, str | None] = {}
    version_of: dict[str, str] = {}
    for write in key.acknowledged:
        if write.version in value_of:
            yield Rule.MISMATCH, f"version {write.version} was given to two writes"
        value_of[write.version] = write.value
        if write.value is not None:
            version_of[write.value] = write.version
    for found, at_s in key.sightings:
        assert found.value is not None
        source = writes.get(found.value)
        if source is None or source.began_s > at_s:
            yield Rule.INVENTED, f"{found.value!r} at version {found.version}"
        elif not source.may_have_happened:
            yield Rule.REFUSED, f"{found.value!r} at version {found.version} was answered {source.fate}"
        elif version_of.setdefault(found.value, found.version) != found.version:
            yield Rule.MISMATCH, f"{found.value!r} is at {found.version} and at {version_of[found.value]}"
        elif value_of.setdefault(found.version, found.value) != found.value:
            yield Rule.MISMATCH, f"version {found.version} is {found.value!r} and {value_of[found.version]!r}"


def _stale_cache(key: _Key) -> _Broken:
    if key.cached is not None and key.stored is not None and key.cached != key.stored:
        yield Rule.STALE_CACHE, f"the cache has {key.cached}, the store {key.stored}"


def _went_back(key: _Key) -> _Broken:
    """A read in a session is at least as new as all that its client had seen or been acknowledged before."""
    known: defaultdict[str, str] = defaultdict(lambda: ZERO)
    operations: list[Write | Read] = [*key.writes, *key.reads]
    for operation in sorted(operations, key=lambda operation: operation.ended_s):
        client = operation.client
        if isinstance(operation, Write):
            known[client] = max(known[client], operation.version)
        elif operation.found is not None:
            found = operation.found
            if operation.in_session and _is_older(key, found, known[client], operation.ended_s):
                yield Rule.WENT_BACK, f"{client} knew {known[client]} and was shown {found}"
            known[client] = max(known[client], found.version)


def _is_older(key: _Key, found: Found, known: str, at_s: float) -> bool:
    if found.value is not None:
        return found.version < known
    deletes = (write for write in key.writes if write.value is None and write.began_s <= at_s)
    return known != ZERO and not any(
        write.fate is Fate.UNKNOWN or (write.fate is Fate.ACKNOWLEDGED and write.version >= known) for write in deletes
    )


def _races(key: _Key) -> _Broken:
    """Of all conditional writes on one version exactly one wins, unless something else replaced that version."""
    races: defaultdict[str, list[Write]] = defaultdict(list)
    for write in key.writes:
        if write.expected is not None:
            races[write.expected].append(write)
    seen = {found.value for found, _ in key.sightings}
    for expected, race in races.items():
        winners = [write for write in race if _has_happened(write, seen)]
        if len(winners) > 1:
            yield Rule.TWO_WINNERS, f"on version {expected}: {', '.join(map(_told, winners))}"
        elif all(write.fate is Fate.CONFLICT for write in race) and not _is_replaced(expected, key.writes):
            yield Rule.NO_WINNER, f"on version {expected}: {len(race)} writes, all answered that it is not there"


def _has_happened(write: Write, seen: set[str | None]) -> bool:
    return write.fate is Fate.ACKNOWLEDGED or (write.fate is Fate.UNKNOWN and write.value in seen)


def _is_replaced(version: str, writes: Sequence[Write]) -> bool:
    return any(
        write.fate is Fate.UNKNOWN or (write.fate is Fate.ACKNOWLEDGED and write.version > version) for write in writes
    )


def _chain(key: _Key) -> _Broken:
    """Where every write is conditional, each acknowledged one is a link of the chain that ends with what is at rest."""
    if key.stored is None or any(write.expected is None for write in key.writes):
        return
    writes = {write.value: write for write in key.writes}
    value_of = {write.version: write.value for write in key.acknowledged}
    value_of |= {found.version: found.value for found, _ in key.sightings}
    links: set[str | None] = set()
    version = key.stored.version
    while (write := writes.get(value_of.get(version))) is not None and write.value not in links:
        links.add(write.value)
        version = write.expected or ZERO
    for write in key.acknowledged:
        if write.value not in links:
            yield Rule.LOST, f"{_told(write)}, and did not lead to what is at rest, {key.stored}"


def _out_of_order(key: _Key) -> _Broken:
    ended = sorted(key.acknowledged, key=lambda write: write.ended_s)
    before, newest = 0, None
    for write in sorted(key.acknowledged, key=lambda write: write.began_s):
        while ended[before].ended_s < write.began_s:
            newest = max(newest or ended[before], ended[before], key=lambda write: write.version)
            before += 1
        if newest is not None and write.version < newest.version:
            yield Rule.OUT_OF_ORDER, f"{_told(write)} began after {_told(newest)}"


def _told(write: Write) -> str:
    what = "a delete" if write.value is None else repr(write.value)
    return f"{what} ({write.fate}{f' as {write.version}' if write.version != ZERO else ''})"
