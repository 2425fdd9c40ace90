"""The guarded apply, as a table: every relation between what is held and what comes."""

from __future__ import annotations

import itertools

import pytest

from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version, judge

NOW_MS = 1_000
V1, V2, V3, V4 = (Version(f"{n:024x}") for n in (1, 2, 3, 4))

HELD = {
    "nothing": None,
    "a value": Entry(V2, b"value"),
    "a tombstone": Entry(V2),
    "an expired value": Entry(V2, b"value", expires_at_ms=NOW_MS),
    "a value that expires next": Entry(V2, b"value", expires_at_ms=NOW_MS + 1),
}
EXPECTED = {"none": None, "zero": ZERO, "present": PRESENT, "older": V1, "held": V2, "newer": V4}
VERSIONS = {"older": V1, "same": V2, "newer": V3}
LIVE = {"a value", "a value that expires next"}


def expected_outcome(held: str, expected: str, version: str) -> Outcome:
    """Say in other words than the product's what must come out."""
    there = ZERO if held == "nothing" else V2
    live = held in LIVE
    if held != "nothing" and version == "same":
        return Outcome(Verdict.APPLIED, there, live)
    holds = {"none": True, "zero": not live, "present": live, "older": False, "held": live, "newer": False}[expected]
    if not holds:
        return Outcome(Verdict.CONFLICT, there, live)
    if held != "nothing" and version == "older":
        return Outcome(Verdict.SUPERSEDED, there, live)
    return Outcome(Verdict.APPLIED, VERSIONS[version], exists=True)


@pytest.mark.parametrize(("held", "expected", "version"), [*itertools.product(HELD, EXPECTED, VERSIONS)])
def test_a_store_decides_as_the_table_says(held: str, expected: str, version: str) -> None:
    """A mutation is applied only over something older, and only if its condition holds; a redelivery counts as applied."""
    mutation = Mutation("key", Entry(VERSIONS[version], b"new"), EXPECTED[expected])
    assert judge(mutation, HELD[held], NOW_MS) == expected_outcome(held, expected, version)


@pytest.mark.parametrize(
    ("entry", "exists"),
    [(Entry(V3), False), (Entry(V3, b""), True), (Entry(V3, b"x", expires_at_ms=NOW_MS), False)],
    ids=["delete", "empty value", "expired on arrival"],
)
def test_an_applied_mutation_tells_whether_the_key_exists_now(entry: Entry, exists: bool) -> None:
    """A delete leaves nothing that exists; an empty value exists."""
    assert judge(Mutation("key", entry), HELD["a value"], NOW_MS) == Outcome(Verdict.APPLIED, V3, exists)
