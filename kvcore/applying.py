"""The last two steps of every write: applying mutations to the store, and telling the cache what the store holds now."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from kvcore.backends import Refresh
from kvcore.errors import UnavailableError
from kvcore.logs import about
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore.settings import CacheSettings
from kvcore.tracing import Origin, joined

__all__ = (
    "Apply",
    "Lifetimes",
    "Write",
    "about_mutation",
    "apply_all",
    "log_outcomes",
    "newly_applied",
    "origin_of",
    "refreshes",
)

logger = logging.getLogger(__name__)

Apply = Callable[[Sequence[Mutation]], Awaitable[Sequence[Outcome]]]


class Write(msgspec.Struct, frozen=True, gc=False):
    """A mutation on its way to the store; `token` is the lease that its writer holds in the cache, if any."""

    mutation: Mutation
    token: str = ""


class Lifetimes:
    """How long slots of the cache live, in milliseconds, with jitter."""

    def __init__(self, settings: CacheSettings, *, draw: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._draw = draw
        self.lease_ms = _ms(settings.lease_ttl_s)

    def entry_ms(self, entry: Entry | None) -> int:
        """Return the lifetime of what the store has: a short one for a key that was never written."""
        unknown = entry is not None and entry.version == ZERO
        return self._jittered(self._settings.missing_ttl_s if unknown else self._settings.ttl_s)

    def pending_ms(self) -> int:
        """Return the lifetime of what was accepted and the store may not have yet."""
        return self._jittered(self._settings.pending_ttl_s)

    def _jittered(self, seconds: float) -> int:
        return _ms(seconds * (1.0 + self._settings.ttl_jitter * self._draw()))


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


async def apply_all(apply: Apply, mutations: Sequence[Mutation]) -> list[Outcome]:
    """Apply mutations that may share keys, in as few calls as possible in each of which a key appears once.

    Of plain mutations that follow each other on one key only the newest is sent: the others could not be seen any more.
    The order of arrival is kept around conditional mutations. Returns one outcome for each mutation.

    Raises:
        UnavailableError: with outcome "unknown" if any of them was applied.
    """
    # A version alone does not do: entries that are restored may share one.
    decided: dict[tuple[str, Version], Outcome] = {}
    rest: Sequence[Mutation] = mutations
    while rest:
        wave, rest = _first_wave(rest)
        newest = [max(run, key=_version) for run in wave]
        try:
            outcomes = await apply(newest)
        except UnavailableError as error:
            if decided:
                error.outcome = "unknown"
            raise
        if len(outcomes) != len(newest):
            raise UnavailableError(f"the store gave {len(outcomes)} outcomes for {len(newest)} mutations")
        again: list[Mutation] = []
        for run, sent, outcome in zip(wave, newest, outcomes, strict=True):
            decided[sent.key, sent.version] = outcome
            others = [mutation for mutation in run if mutation.version != sent.version]
            if outcome.verdict is Verdict.REJECTED:
                again += others  # it stood for them, and will not be stored
            else:
                beaten = Outcome(Verdict.SUPERSEDED, outcome.version, outcome.exists)
                decided |= {(mutation.key, mutation.version): beaten for mutation in others}
        rest = [*again, *rest]
    return [decided[mutation.key, mutation.version] for mutation in mutations]


def _first_wave(mutations: Iterable[Mutation]) -> tuple[list[list[Mutation]], list[Mutation]]:
    """Take each key's first run of mutations (plain ones, or a single conditional one), and return what is left too."""
    runs: dict[str, list[Mutation]] = {}
    rest: list[Mutation] = []
    later: set[str] = set()
    for mutation in mutations:
        run = runs.get(mutation.key)
        if run is None:
            runs[mutation.key] = [mutation]
        elif mutation.key not in later and mutation.expected is None and run[-1].expected is None:
            run.append(mutation)
        else:
            later.add(mutation.key)
            rest.append(mutation)
    return list(runs.values()), rest


def _version(mutation: Mutation) -> Version:
    return mutation.version


def origin_of(mutations: Iterable[Mutation]) -> Origin:
    """Return the origin of work that is done for mutations: their traces."""
    return joined(Origin("", (mutation.traceparent,)) for mutation in mutations if mutation.traceparent)


def about_mutation(mutation: Mutation, **others: str | float) -> dict[str, Any]:
    """Return what a line about one mutation is about, for `extra`: its key, version and trace, and other members."""
    return about(key=mutation.key, traceparent=mutation.traceparent, version=mutation.version, **others)


def log_outcomes(mutations: Iterable[Mutation], outcomes: Iterable[Outcome]) -> None:
    """Write a line for each mutation, with what became of it: what `log.requests` asks for."""
    for mutation, outcome in zip(mutations, outcomes, strict=True):
        verdict = outcome.verdict.value
        logger.info("a mutation was %s", verdict, extra=about_mutation(mutation, verdict=verdict))


def newly_applied(mutations: Iterable[Mutation], outcomes: Iterable[Outcome]) -> list[Mutation]:
    """Return the mutations that the store has taken, without requests that were answered before."""
    return [
        mutation
        for mutation, outcome in zip(mutations, outcomes, strict=True)
        if outcome.verdict is Verdict.APPLIED and outcome.version == mutation.version
    ]


def refreshes(writes: Sequence[Write], outcomes: Sequence[Outcome], lifetimes: Lifetimes) -> list[Refresh]:
    """Say what the cache must learn after an apply: for each key the highest version that the store is known to hold.

    A rejected mutation may have been installed in the cache when it was accepted. It is dropped from there as if the
    store had a version just above it; what is newer stays.
    """
    found: dict[str, Refresh] = {}
    for write, outcome in zip(writes, outcomes, strict=True):
        mutation = write.mutation
        stored, entry = outcome.version, None
        if outcome.verdict is Verdict.REJECTED:
            stored = max(stored, _above(mutation.version))
        elif stored == mutation.version and not mutation.restored:
            # What is restored may have been there already, and nobody can tell that it came as it was: the store knows.
            entry = mutation.entry
        known = found.get(mutation.key)
        if known is None or known.version < stored or (known.version == stored and known.entry is None):
            found[mutation.key] = Refresh(mutation.key, stored, entry, lifetimes.entry_ms(entry), write.token)
    return list(found.values())


def _above(version: Version) -> Version:
    return Version(f"{int(version, 16) + 1:024x}")
