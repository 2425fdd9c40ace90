"""The protocol of `kvcore.slots`, explored exhaustively; and what each of its rules is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kvcore import slots
from kvcore.applying import Lifetimes, Write
from kvcore.backends import Refresh
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
from kvcore.slots import Lease, Slot
from tests.protocol.interleavings import AMBIGUOUS, DIRECT, EARLY, PROMPT, QUEUED, Rules, Setting, explore

PRODUCT = Rules()

HOLDS = {
    "two writers, two readers, two workers": (Setting(), 100_000),
    "three writers, one reader, two workers": (
        Setting(writers=(QUEUED,) * 3, readers=1, evictions=1, worker_crashes=0),
        50_000,
    ),
    "three workers": (Setting(readers=1, workers=3, worker_crashes=2), 30_000),
    "queued, then direct": (Setting(writers=(QUEUED, DIRECT), api_crashes=0), 10_000),
    "direct, then queued": (Setting(writers=(DIRECT, QUEUED), api_crashes=0), 10_000),
    "direct only": (Setting(writers=(DIRECT, DIRECT), api_crashes=0, evictions=3), 2_000),
    "a missing confirm, then queued": (Setting(writers=(AMBIGUOUS, QUEUED), readers=1), 30_000),
    "queued, then a missing confirm": (Setting(writers=(QUEUED, AMBIGUOUS), readers=1), 30_000),
    "refreshes put off": (Setting(readers=1, put_off=2), 50_000),
    "the newer is rejected": (Setting(writers=(PROMPT, PROMPT), rejected=2, put_off=1), 20_000),
    "the older is rejected": (Setting(writers=(PROMPT, PROMPT), rejected=1, put_off=1), 20_000),
    "a rejected one, and a direct one": (Setting(writers=(PROMPT, DIRECT), rejected=1, api_crashes=0), 5_000),
    "a direct one is rejected": (Setting(writers=(PROMPT, DIRECT), rejected=2, api_crashes=0), 5_000),
}


@pytest.mark.parametrize("name", HOLDS)
def test_the_protocol_holds_in_every_interleaving(name: str) -> None:
    """No acknowledged write is lost, nothing stale stays in the cache, and nobody sees what was not accepted."""
    setting, at_least = HOLDS[name]
    explored = explore(setting, PRODUCT)
    print(f"{name}: {explored.states:,} states")
    assert explored.fault is None, f"{explored.fault}:\n  " + "\n  ".join(explored.trace)
    assert explored.states > at_least, "the model has become smaller: does it still cover what it should?"


def _install_into_absent(slot: Slot, entry: Entry, token: str) -> Slot:
    return entry if slot is None else slots.install(slot, entry, token)


def _install_over_newer(slot: Slot, entry: Entry, token: str) -> Slot:
    return entry if isinstance(slot, Entry) else slots.install(slot, entry, token)


def _install_into_any_lease(slot: Slot, entry: Entry, token: str) -> Slot:
    return entry if isinstance(slot, Lease) else slots.install(slot, entry, token)


def _refresh_keeps_leases(slot: Slot, stored: Version, entry: Entry | None, token: str) -> Slot:
    return slot if isinstance(slot, Lease) and slot.token != token else slots.refresh(slot, stored, entry, token)


def _refresh_installs(slot: Slot, stored: Version, entry: Entry | None, token: str) -> Slot:
    return entry if slot is None else slots.refresh(slot, stored, entry, token)


def _refreshes_by_message(writes: Sequence[Write], outcomes: Sequence[Outcome], lifetimes: Lifetimes) -> list[Refresh]:
    del outcomes, lifetimes
    return [Refresh(w.mutation.key, w.mutation.version, w.mutation.entry, 1, w.token) for w in writes]


def _refreshes_ignore_rejection(
    writes: Sequence[Write], outcomes: Sequence[Outcome], lifetimes: Lifetimes
) -> list[Refresh]:
    del lifetimes
    return [Refresh(w.mutation.key, o.version, None, 1, w.token) for w, o in zip(writes, outcomes, strict=True)]


def _unguarded(mutation: Mutation, held: Entry | None, now_ms: int) -> Outcome:
    del held, now_ms
    return Outcome(Verdict.APPLIED, mutation.version, exists=True)


BREAKS = {
    "who fills needs no lease": (Setting(), Rules(install=_install_into_absent), "stale"),
    "an older entry replaces a newer one": (Setting(), Rules(install=_install_over_newer), "stale"),
    "any lease will do": (Setting(), Rules(install=_install_into_any_lease), "stale"),
    "a refresh leaves leases": (Setting(), Rules(refresh=_refresh_keeps_leases), "stale"),
    "a refresh fills absent slots": (Setting(), Rules(refresh=_refresh_installs), "stale"),
    "a refresh knows its message only": (Setting(), Rules(refreshes=_refreshes_by_message), "stale"),
    "a refresh is lost": (Setting(lost=1), PRODUCT, "stale"),
    "the store takes whatever comes": (Setting(), Rules(judge=_unguarded), "lost"),
    "install comes before the confirm": (Setting(writers=(EARLY, QUEUED)), PRODUCT, "not accepted"),
    "a rejection is not told to the cache": (
        Setting(writers=(PROMPT, PROMPT), rejected=2),
        Rules(refreshes=_refreshes_ignore_rejection),
        "stale",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_is_needed(name: str) -> None:
    """Without any one rule, some interleaving breaks the promise: the exploration finds what it looks for."""
    setting, rules, expected = BREAKS[name]
    explored = explore(setting, rules)
    print(f"{name}: {explored.fault}: {' | '.join(explored.trace)}")
    assert explored.fault is not None
    assert expected in explored.fault
    assert explored.trace


WINDOWS = {
    "a node crashes between its own commit and the refresh": Setting(writers=(DIRECT, DIRECT)),
    "an install comes after the rejection of what it installs": Setting(rejected=2),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_documented_windows_are_real(name: str) -> None:
    """What is documented as left to the lifetime of cached entries does happen, and then the cache is stale until that ends."""
    explored = explore(WINDOWS[name], PRODUCT)
    assert explored.fault is not None
    assert explored.fault.startswith("stale")


def test_the_shortest_way_to_a_fault_is_reported() -> None:
    """A counter-example has no step that it could do without."""
    setting = replace(Setting(), writers=(QUEUED,), readers=0, lost=1)
    explored = explore(setting, Rules(judge=lambda mutation, held, now_ms: Outcome(Verdict.SUPERSEDED)))
    assert explored.fault is not None
    assert " | ".join(explored.trace) == (
        "W1 reserves | W1 publishes | W1 installs | K takes v1 | K commits v1 | K refreshes v1, acknowledges"
    )
