"""The reference for stores: a dictionary of entries, one of answers, and `kvcore.model.judge`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from hypothesis import strategies as st

from kvcore.backends import Listed
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version, is_final, judge
from kvcore.testing.samples import version

__all__ = ("CONDITIONS", "FUTURE_MS", "HELD", "NOW_MS", "PAST_MS", "StoreModel", "below", "histories")

PAST_MS = 1_000_000_000_000
"""In 2001: an entry that expires then has expired."""
NOW_MS = 1_800_000_000_000
FUTURE_MS = 4_000_000_000_000
"""In 2096."""

HELD: Final[dict[str, Entry | None]] = {
    "nothing": None,
    "live": Entry(version(5), b"five"),
    "live-for-now": Entry(version(5), b"five", expires_at_ms=FUTURE_MS),
    "expired": Entry(version(5), b"five", expires_at_ms=PAST_MS),
    "tombstone": Entry(version(5)),
}

CONDITIONS: Final[dict[str, Version | None]] = {
    "always": None,
    "if-absent": ZERO,
    "if-present": PRESENT,
    "if-this-version": version(5),
    "if-another-version": version(4),
}

KEYS = ("a", "ab", "b", "\uffff", "\U00010000")


class StoreModel:
    """What a store holds. Expiries are in the past or in the future of every test, so that it needs no clock."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.answers: dict[bytes, Outcome] = {}

    def apply(self, mutations: Sequence[Mutation]) -> list[Outcome]:
        """Decide on mutations, keep those that are applied, and remember the answers to requests."""
        return [self.answers.get(mutation.request_id) or self._apply(mutation) for mutation in mutations]

    def _apply(self, mutation: Mutation) -> Outcome:
        outcome = judge(mutation, self.entries.get(mutation.key), NOW_MS)
        if outcome.verdict is Verdict.APPLIED:
            self.entries[mutation.key] = mutation.entry
        if mutation.request_id and is_final(mutation, outcome):
            self.answers[mutation.request_id] = outcome
        return outcome

    def listing(self, prefix: str) -> list[Listed]:
        """Return the line of every key that exists, in the byte order of UTF-8."""
        return [
            Listed(key, entry.version, len(entry.value), entry.media_type, entry.expires_at_ms)
            for key, entry in sorted(self.entries.items(), key=lambda item: item[0].encode())
            if key.startswith(prefix) and entry.value is not None and entry.is_live(NOW_MS)
        ]


def below(prefix: str, mutation: Mutation) -> Mutation:
    """Return the same mutation for a key below a prefix; if it is a request, another one."""
    request_id = mutation.request_id and sha256(prefix.encode() + mutation.request_id).digest()
    return msgspec.structs.replace(mutation, key=prefix + mutation.key, request_id=request_id)


def histories(*, requests: bool = False) -> st.SearchStrategy[list[list[Mutation]]]:
    """Draw calls of mutations, in each of which a key appears once, on few keys and versions, so that they meet.

    A version has one content only, as in life: what differs is whether it is a delete, and when it expires. With `requests`
    some mutations belong to few requests, each of one key and one condition.
    """
    expiries = {1: None, 2: PAST_MS, 3: FUTURE_MS, 4: None, 5: None, 6: FUTURE_MS}
    values = {1: b"one", 2: b"two", 3: b"", 4: None, 5: b"five", 6: b"six"}
    entries = st.sampled_from(
        [Entry(version(n), values[n], expires_at_ms=expiries[n]) for n in values],
    )
    expected = st.one_of(st.none(), st.sampled_from((ZERO, PRESENT)), st.integers(1, 6).map(version))
    mutations = st.builds(Mutation, st.sampled_from(KEYS), entries, expected)
    if requests:
        mutations = st.one_of(mutations, mutations.filter(lambda mutation: mutation.expected is not None).map(_request))
    calls = st.lists(mutations, min_size=1, max_size=5, unique_by=lambda mutation: mutation.key)
    return st.lists(calls, min_size=1, max_size=10)


def _request(mutation: Mutation) -> Mutation:
    return msgspec.structs.replace(mutation, request_id=f"{mutation.expected} {mutation.key}".encode())
