"""What happens to one slot of the cache: the protocol between writers, readers and workers, as pure functions.

A slot is absent (None), a `Lease`, or an `Entry`. What is promised: at rest a slot is absent, a lease, or exactly the
entry that the store holds, whatever was evicted, repeated, reordered or crashed on the way.

The obvious way, "write the store, then set the cache; on a miss, read the store, then set the cache", breaks that
promise: a reader that read the old value and was delayed sets it over the new one, or into the gap that an eviction of
the new one left, and nothing ever repairs it. Comparing versions mends the first case only. Hence the rules:

* Into an absent slot nobody installs anything. Whoever wants to fill it leaves a lease there before looking at the
  store.
* A lease is worth one fill, by its own token. A worker that applied a newer version meanwhile takes the lease away, so
  that what its holder has read comes too late.
* A refresh compares with the version that the *store* holds after the apply, not with that of the message in hand:
  messages overtake each other.
* A worker acknowledges only after its refresh, so that a crash in between repeats both.

A cache backend does each of these atomically for its key. A transition that changes nothing returns the very object
that it was given, and the slot keeps its lifetime; any other result takes the lifetime that came with the operation.
"""

from __future__ import annotations

import msgspec

from kvcore.model import Entry, Version

__all__ = ("Lease", "Reservation", "Slot", "install", "read", "refresh", "reserve")


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to fill a slot once, for whoever knows the token."""

    token: str


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """What `reserve` answers: `granted` when the lease is the caller's, and the version where an entry is there instead."""

    granted: bool
    version: Version | None = None


Slot = Entry | Lease | None

GRANTED = Reservation(granted=True)
TAKEN = Reservation(granted=False)


def read(slot: Slot) -> Entry | None:
    """Return the entry, or None: a lease is nothing to a reader."""
    return slot if isinstance(slot, Entry) else None


def reserve(slot: Slot, token: str, *, reader: bool) -> tuple[Slot, Reservation]:
    """Ask for the right to fill a slot.

    A writer takes over a lease that somebody else has: it is about to make what that one would fill obsolete. A reader
    leaves it: one fill is enough.
    """
    if isinstance(slot, Entry):
        return slot, Reservation(granted=False, version=slot.version)
    if isinstance(slot, Lease) and reader:
        return slot, GRANTED if slot.token == token else TAKEN
    return Lease(token), GRANTED


def install(slot: Slot, entry: Entry, token: str) -> Slot:
    """Fill a slot with an accepted or stored entry: over an older entry, or into the caller's own lease."""
    if isinstance(slot, Entry):
        return entry if slot.version < entry.version else slot
    if isinstance(slot, Lease):
        return entry if slot.token == token else slot
    return None


def refresh(slot: Slot, stored: Version, entry: Entry | None = None, token: str = "") -> Slot:
    """Bring a slot in step with the store, which holds the version `stored` for this key.

    `entry` is that version's entry where the caller has it at hand. `token` is given by a writer that has written the
    store itself: its own lease becomes the entry. Any other lease is dropped, since its holder may have read the store
    before.
    """
    if isinstance(slot, Entry):
        if slot.version > stored:
            return slot
        if slot.version == stored:
            return slot if entry is None else entry
        return entry
    if isinstance(slot, Lease) and slot.token == token:
        return entry
    return None
