"""The values that every part of kvcore passes on: versions, entries, mutations and what became of them.

All are immutable. They are encoded as arrays (msgpack or JSON) wherever they leave the process, so fields are only ever
appended, with a default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NewType

import msgspec

__all__ = (
    "JSON",
    "NEVER",
    "PRESENT",
    "ZERO",
    "Entry",
    "Mutation",
    "Outcome",
    "Verdict",
    "Version",
    "is_final",
    "judge",
)

Version = NewType("Version", str)
"""24 lowercase hex digits: 48 bits of Unix milliseconds, 16 bits of counter, 32 bits of node tag. Sorts as text."""

ZERO: Final = Version("0" * 24)
"""The version of a key that was never written. As a mutation's `expected`: the key must not exist."""

PRESENT: Final = Version("*")
"""Only as a mutation's `expected`: the key must exist, at whatever version."""

NEVER: Final = Version(f"{1:024x}")
"""Only as a mutation's `expected`: a version that no key has, so a condition that does not hold."""

JSON: Final = "application/json"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a key holds at one version.

    `value` is None for a tombstone (the key was deleted), and for a key that was never written (version `ZERO`).
    `expires_at_ms` is Unix time in milliseconds; from then on the key reads as missing, though the entry may still be
    kept.
    """

    version: Version
    value: bytes | None = None
    media_type: str = JSON
    expires_at_ms: int | None = None

    def is_live(self, now_ms: int) -> bool:
        """Tell whether a reader sees a value at this time."""
        return self.value is not None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


class Mutation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One write or delete of one key.

    `expected` is the condition: None for a plain write, a version that the key must have now, `ZERO` (the key must not
    exist) or `PRESENT` (it must).

    `request_id` names the request of a client who may send it again, of a conditional write only: 32 bytes, or none.
    Mutations that have it in common are one request, which was stamped several times: see `is_final`.

    `traceparent` names the trace that the write is a part of (55 characters, see `kvcore.tracing`), or is empty. `restored`:
    the version was stamped long ago, for another mutation. No store keeps these two.
    """

    key: str
    entry: Entry
    expected: Version | None = None
    request_id: bytes = b""
    traceparent: str = ""
    restored: bool = False

    @property
    def version(self) -> Version:
        """The version that the key has once this is applied."""
        return self.entry.version

    @property
    def is_probe(self) -> bool:
        """Tell whether this is nobody's write: it never holds, and was sent to see it come back."""
        return self.expected == NEVER and not self.request_id

    @property
    def size_bytes(self) -> int:
        """About how large this is on a wire: enough to bound a batch."""
        return len(self.key) + len(self.entry.value or b"") + 64


class Verdict(StrEnum):
    """What became of a mutation."""

    APPLIED = "applied"
    """The key has this version now."""
    SUPERSEDED = "superseded"
    """The store has a newer version already; nothing was changed, and nothing needs to be."""
    CONFLICT = "conflict"
    """The condition does not hold; nothing was changed."""
    REJECTED = "rejected"
    """The store refuses this mutation and always will; `reason` says why."""
    UNKNOWN = "unknown"
    """A repeated mutation finds another version: it may have been applied the first time, and overwritten since."""


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a store says about one mutation.

    `version` is what the store holds for the key now (`ZERO`: nothing), `exists` whether a reader sees a value there. The
    outcome of a request that was answered before is that of the first time, as it was then.
    """

    verdict: Verdict
    version: Version = ZERO
    exists: bool = False
    reason: str = ""


def judge(mutation: Mutation, held: Entry | None, now_ms: int) -> Outcome:
    """Decide what a store that holds `held` for the key does with a mutation: the guarded apply, as a pure function.

    A store that finds APPLIED writes `mutation.entry` (again, in the case of a redelivery, which changes nothing);
    in every other case it leaves the key alone.
    """
    stored = ZERO if held is None else held.version
    exists = held is not None and held.is_live(now_ms)
    expected = mutation.expected
    if stored == mutation.version:
        return Outcome(Verdict.APPLIED, stored, exists)
    if expected is not None:
        holds = exists if expected == PRESENT else not exists if expected == ZERO else exists and stored == expected
        if not holds:
            return Outcome(Verdict.CONFLICT, stored, exists)
    if stored > mutation.version:
        return Outcome(Verdict.SUPERSEDED, stored, exists)
    return Outcome(Verdict.APPLIED, mutation.version, mutation.entry.is_live(now_ms))


def is_final(mutation: Mutation, outcome: Outcome) -> bool:
    """Tell whether an outcome answers a request for good, so that the same request gets it again.

    A store with the ability IDEMPOTENCY remembers these for mutations with a `request_id`, in the same transaction. One
    that waits for the store to reach the expected version has no answer yet, and neither has one that must be stamped anew.
    """
    if outcome.verdict is Verdict.CONFLICT:
        expected = mutation.expected
        return expected is None or expected in (ZERO, PRESENT) or outcome.version >= expected
    return outcome.verdict is Verdict.APPLIED
