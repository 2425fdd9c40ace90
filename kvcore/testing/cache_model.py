"""The reference for caches: one dictionary of slots, and the pure functions of `kvcore.slots`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from kvcore import slots
from kvcore.backends import Cache, Install, Refresh, Reserve
from kvcore.model import Entry
from kvcore.slots import Reservation, Slot
from kvcore.testing.samples import version

__all__ = ("LONG_MS", "Request", "below", "histories", "perform", "transition")

LONG_MS = 600_000
"""A lifetime that no test outlives."""

Request = Reserve | Install | Refresh
KEYS = ("a", "b", "c")
TOKENS = ("red", "green")


def transition(slot: Slot, request: Request) -> tuple[Slot, Reservation | None]:
    """Return the slot after a request, and the answer to it."""
    match request:
        case Reserve(token=token, reader=reader):
            return slots.reserve(slot, token, reader=reader)
        case Install(entry=entry, token=token):
            return slots.install(slot, entry, token), None
        case Refresh(version=stored, entry=fresh, token=token):
            return slots.refresh(slot, stored, fresh, token), None


async def perform(cache: Cache, requests: Sequence[Request]) -> Sequence[Reservation | None]:
    """Send requests that are all of one sort in one call, and return the answers: None each, where there are none."""
    reserves = [request for request in requests if isinstance(request, Reserve)]
    installs = [request for request in requests if isinstance(request, Install)]
    refreshes = [request for request in requests if isinstance(request, Refresh)]
    if reserves:
        return await cache.reserve(reserves)
    if installs:
        await cache.install(installs)
    if refreshes:
        await cache.refresh(refreshes)
    return [None] * len(requests)


def below(prefix: str, request: Request) -> Request:
    """Return the same request for a key below a prefix."""
    return msgspec.structs.replace(request, key=prefix + request.key)


def histories() -> st.SearchStrategy[list[list[Request]]]:
    """Draw calls, each of one or more requests of one sort, on few keys, tokens and versions, so that they meet."""
    keys, tokens, long = st.sampled_from(KEYS), st.sampled_from(TOKENS), st.just(LONG_MS)
    versions = st.integers(0, 5).map(version)
    entries = st.builds(Entry, versions, st.sampled_from((None, b"", b"x")))
    reserves = st.builds(Reserve, keys, tokens, st.booleans(), long)
    installs = st.builds(Install, keys, entries, tokens, long)
    fresh = st.builds(lambda key, entry, token: Refresh(key, entry.version, entry, LONG_MS, token),
                      keys, entries, st.sampled_from(("", *TOKENS)))  # fmt: skip
    stale = st.builds(Refresh, keys, versions, st.none(), long, st.sampled_from(("", *TOKENS)))
    calls = st.one_of(
        *(st.lists(requests, min_size=1, max_size=4) for requests in (reserves, installs, fresh | stale)),
    )
    return st.lists(calls, min_size=1, max_size=12)
