"""Applying many mutations that may share keys, and what the cache is told about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kvcore.applying import Lifetimes, Write, apply_all, refreshes
from kvcore.errors import UnavailableError
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore.settings import CacheSettings
from tests.unit.core.fakes import FakeStore

LIFETIMES = Lifetimes(
    CacheSettings(backend="fake", ttl_s=10, missing_ttl_s=2, pending_ttl_s=100, lease_ttl_s=1), draw=lambda: 1.0
)


def v(number: int) -> Version:
    """Return a version."""
    return Version(f"{number:024x}")


def m(key: str, number: int, *, expected: Version | None = None, value: bytes = b"value") -> Mutation:
    """Return a mutation."""
    return Mutation(key, Entry(v(number), value), expected)


class Calls:
    """A store that notes the versions of each call."""

    def __init__(self, *poison: bytes) -> None:
        self.store = FakeStore()
        self.store.poison.update(poison)
        self.calls: list[list[int]] = []

    async def __call__(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        self.calls.append([int(mutation.version, 16) for mutation in mutations])
        return await self.store.apply(mutations)


WAVES = {
    "nothing": ([], []),
    "different keys go together": ([m("a", 1), m("b", 2)], [[1, 2]]),
    "only the newest of a run is sent": ([m("a", 1), m("a", 3), m("a", 2), m("b", 4)], [[3, 4]]),
    "a condition ends a run": ([m("a", 1), m("a", 2, expected=v(1)), m("a", 3)], [[1], [2], [3]]),
    "plain ones after a condition are a run": ([m("a", 1, expected=ZERO), m("a", 2), m("a", 3)], [[1], [3]]),
    "conditions on one key go one by one": ([m("a", 1, expected=ZERO), m("a", 2, expected=v(1))], [[1], [2]]),
    "other keys do not wait": ([m("a", 1, expected=ZERO), m("a", 2), m("b", 3), m("b", 4)], [[1, 4], [2]]),
    "the same one twice is sent once": ([m("a", 1), m("a", 1)], [[1]]),
}


@pytest.mark.parametrize("name", WAVES)
async def test_mutations_are_sent_in_as_few_calls_as_possible(name: str) -> None:
    """A key appears once in a call, plain writes are folded, and the order around conditions is kept."""
    mutations, calls = WAVES[name]
    store = Calls()
    outcomes = await apply_all(store, mutations)
    assert store.calls == calls
    assert len(outcomes) == len(mutations)


async def test_what_was_folded_is_answered_as_superseded() -> None:
    """Whoever sent an older write of a run learns which version the store has."""
    older, newest = await apply_all(Calls(), [m("a", 1), m("a", 2)])
    assert newest == Outcome(Verdict.APPLIED, v(2), exists=True)
    assert older == Outcome(Verdict.SUPERSEDED, v(2), exists=True)


async def test_outcomes_stand_in_the_order_of_the_question() -> None:
    """Each mutation gets its own outcome, whatever the order in which they were sent."""
    mutations = [m("b", 5), m("a", 1, expected=v(9)), m("b", 4), m("c", 3)]
    verdicts = [outcome.verdict for outcome in await apply_all(Calls(), mutations)]
    assert verdicts == [Verdict.APPLIED, Verdict.CONFLICT, Verdict.SUPERSEDED, Verdict.APPLIED]


async def test_where_the_newest_is_rejected_the_next_older_is_applied() -> None:
    """A write that stood for others and is refused does not take them with it."""
    store = Calls(b"poison")
    mutations = [m("a", 1), m("a", 2), m("a", 3, value=b"poison"), m("b", 4)]
    outcomes = await apply_all(store, mutations)
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.SUPERSEDED,
        Verdict.APPLIED,
        Verdict.REJECTED,
        Verdict.APPLIED,
    ]
    assert store.calls == [[3, 4], [2]]
    assert store.store.entries["a"].version == v(2)


@pytest.mark.parametrize(("healthy_calls", "outcome"), [(0, "not-applied"), (1, "unknown")])
async def test_an_error_after_a_part_was_applied_says_unknown(healthy_calls: int, outcome: str) -> None:
    """That nothing was applied is only said when it is so."""
    store = Calls()
    store.store.faults.planned.extend([None] * healthy_calls)
    store.store.faults.always = "before"
    with pytest.raises(UnavailableError) as raised:
        await apply_all(store, [m("a", 1, expected=ZERO), m("a", 2, expected=v(1))])
    assert raised.value.outcome == outcome


def told(*pairs: tuple[Mutation, Outcome]) -> list[tuple[str, Version, Entry | None, int]]:
    """Return what the cache is told, in short."""
    writes, outcomes = [Write(mutation) for mutation, _ in pairs], [outcome for _, outcome in pairs]
    return [(r.key, r.version, r.entry, r.lifetime_ms) for r in refreshes(writes, outcomes, LIFETIMES)]


def applied(number: int) -> Outcome:
    """Return the outcome of an applied mutation."""
    return Outcome(Verdict.APPLIED, v(number), exists=True)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], []),
        ([(m("a", 2), applied(2))], [("a", v(2), Entry(v(2), b"value"), 11_000)]),
        ([(m("a", 2), Outcome(Verdict.SUPERSEDED, v(5)))], [("a", v(5), None, 11_000)]),
        ([(m("a", 2), Outcome(Verdict.CONFLICT, ZERO))], [("a", ZERO, None, 11_000)]),
        ([(m("a", 2), Outcome(Verdict.REJECTED))], [("a", v(3), None, 11_000)]),
        ([(m("a", 2), Outcome(Verdict.REJECTED, v(7)))], [("a", v(7), None, 11_000)]),
        ([(m("a", 2), applied(2)), (m("a", 3), applied(3))], [("a", v(3), Entry(v(3), b"value"), 11_000)]),
        ([(m("a", 3), applied(3)), (m("a", 2), Outcome(Verdict.SUPERSEDED, v(3)))],
         [("a", v(3), Entry(v(3), b"value"), 11_000)]),
        ([(m("a", 2), Outcome(Verdict.SUPERSEDED, v(3))), (m("a", 3), applied(3))],
         [("a", v(3), Entry(v(3), b"value"), 11_000)]),
        ([(m("a", 2), applied(2)), (m("a", 3), Outcome(Verdict.REJECTED))], [("a", v(4), None, 11_000)]),
        ([(m("a", 1), applied(1)), (m("b", 2), applied(2))],
         [("a", v(1), Entry(v(1), b"value"), 11_000), ("b", v(2), Entry(v(2), b"value"), 11_000)]),
    ],
    ids=["nothing", "applied", "superseded", "conflict", "rejected", "rejected below newer", "two applied",
         "newest first", "newest last", "rejected above applied", "two keys"],
)  # fmt: skip
def test_the_cache_is_told_the_highest_version_the_store_is_known_to_hold(
    pairs: list[tuple[Mutation, Outcome]], expected: list[tuple[str, Version, Entry | None, int]]
) -> None:
    """One refresh for each key, with the entry where it is at hand; a rejected mutation is dropped from the cache."""
    assert told(*pairs) == expected


def test_lifetimes_have_jitter_and_tell_the_missing_from_the_stored() -> None:
    """Keys that do not exist are remembered for a shorter time, accepted ones for a longer one."""
    assert LIFETIMES.entry_ms(Entry(v(1), b"")) == 11_000
    assert LIFETIMES.entry_ms(Entry(v(1))) == 11_000
    assert LIFETIMES.entry_ms(Entry(ZERO)) == 2_200
    assert LIFETIMES.pending_ms() == 110_000
    assert LIFETIMES.lease_ms == 1_000
