"""The guarded apply: a few statements for any number of mutations, each decided as `judge` decides.

First one statement per kind of condition writes what may be written, and says which keys that was. PostgreSQL and
CockroachDB both check the guard on the newest state of a row, with the row locked (at READ COMMITTED the former waits for
whoever has it, and checks again; the latter is SERIALIZABLE, and has one of the two repeated): of any number at once, one
wins. Then what is held for the other keys is read, and `judge` says why they were not written. Where it says that they may
be, somebody has changed the row between the two, and they are tried again.

A statement is sent again when its fate is unknown. That is harmless: what it had written has its own version, and `judge`
recognises it. Only if something newer came in between is nobody able to say what became of the first try: UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
from psycopg.types.numeric import Int8

from kvcore.backends import Limits
from kvcore.errors import UnavailableError
from kvcore.model import ZERO, Entry, Mutation, Outcome, Verdict, judge
from kvcore_store_cockroach.arrays import Blobs, Integers, Texts
from kvcore_store_cockroach.connecting import unavailable
from kvcore_store_cockroach.executing import Executor
from kvcore_store_cockroach.translating import RefusedError

__all__ = ("Held", "Writing", "may_be_written", "when_written")

_STATEMENT_BYTES: Final = 4 << 20
"""About the most bytes in one statement: CockroachDB takes messages of 16 MiB, and splits what writes more than a few."""
_ROUNDS: Final = 20

Held = Callable[[Sequence[str]], Awaitable[Mapping[str, Entry]]]
"""Returns what is held for those of some keys that have an entry."""


class Writing:
    """One call of `Store.apply`, of mutations without a `request_id`."""

    def __init__(self, executor: Executor, held: Held, limits: Limits, now_ms: Callable[[], int]) -> None:
        self._executor = executor
        self._held = held
        self._limits = limits
        self._now_ms = now_ms
        self._outcomes: dict[str, Outcome] = {}
        self._doubted: set[str] = set()
        self._wrote = False

    async def apply(self, mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        """Apply mutations, each of a key of its own."""
        try:
            await self._apply(mutations)
        except UnavailableError as error:
            if self._wrote or self._doubted:
                error.outcome = "unknown"
            raise
        return [self._outcomes[mutation.key] for mutation in mutations]

    async def _apply(self, mutations: Sequence[Mutation]) -> None:
        # In one order, whoever writes: two that overlap would wait for each other otherwise.
        rest: Sequence[Mutation] = sorted(mutations, key=attrgetter("key"))
        for mutation in rest:
            if why := _too_large(mutation, self._limits):
                await self._reject(mutation, why)
        for _ in range(_ROUNDS):
            rest = [mutation for mutation in rest if mutation.key not in self._outcomes]
            if not rest:
                return
            await self._round(rest)
        raise unavailable("others keep writing the same keys")

    async def _round(self, mutations: Sequence[Mutation]) -> None:
        """Write what may be written, and decide about the others; those without an outcome must be tried again."""
        now_ms = self._now_ms()
        for kind, alike in groupby(sorted(mutations, key=_kind), key=_kind):
            for portion in _portions(alike):
                await self._write(kind, portion, now_ms)
        if left := [mutation for mutation in mutations if mutation.key not in self._outcomes]:
            await self._decide_all(left, now_ms)

    async def _decide_all(self, mutations: Sequence[Mutation], now_ms: int) -> None:
        """Note the outcomes of mutations that were not written, but for those that could be written now."""
        held = await self._held([mutation.key for mutation in mutations])
        for mutation in mutations:
            self._decide(mutation, held.get(mutation.key), now_ms)

    def _decide(self, mutation: Mutation, held: Entry | None, now_ms: int) -> None:
        """Note the outcome of a mutation that was not written, unless it could be written now."""
        outcome = judge(mutation, held, now_ms)
        if may_be_written(mutation, outcome, held):
            return
        if mutation.key in self._doubted and outcome.verdict in (Verdict.CONFLICT, Verdict.SUPERSEDED):
            outcome = msgspec.structs.replace(outcome, verdict=Verdict.UNKNOWN)
        self._outcomes[mutation.key] = outcome

    async def _write(self, kind: str, mutations: Sequence[Mutation], now_ms: int) -> None:
        """Write what may be written of mutations of one kind. What the server refuses is found by halving."""

        def doubt() -> None:
            self._doubted.update(mutation.key for mutation in mutations)

        try:
            name, parameters = self._statement(kind, mutations, now_ms)
            rows = await self._executor.rows(name, parameters, in_doubt=doubt)
        except RefusedError as refusal:
            if len(mutations) == 1:
                await self._reject(mutations[0], str(refusal))
                return
            middle = len(mutations) // 2
            await self._write(kind, mutations[:middle], now_ms)
            await self._write(kind, mutations[middle:], now_ms)
            return
        written = {key for (key,) in rows}
        self._wrote = self._wrote or bool(written)
        self._outcomes.update((one.key, when_written(one, now_ms)) for one in mutations if one.key in written)

    def _statement(self, kind: str, mutations: Sequence[Mutation], now_ms: int) -> tuple[str, dict[str, Any]]:
        """Return the name of the statement that writes mutations of a kind, and its parameters."""
        entries = [mutation.entry for mutation in mutations]
        parameters: dict[str, Any] = {
            "keys": Texts.of([mutation.key for mutation in mutations]),
            "versions": Texts.of([entry.version for entry in entries]),
            "values": Blobs.of([entry.value for entry in entries]),
            "media_types": Texts.of([entry.media_type for entry in entries]),
            "expiries": Integers.of([entry.expires_at_ms for entry in entries]),
            "now_ms": Int8(now_ms),
        }
        if kind == "update":
            return "update", parameters | {"expected": Texts.of([mutation.expected or ZERO for mutation in mutations])}
        return "upsert", parameters | {"create": kind == "create"}

    async def _reject(self, mutation: Mutation, why: str) -> None:
        try:
            held = (await self._held([mutation.key])).get(mutation.key)
        except RefusedError:
            held = None  # such a key cannot be there
        stored, exists = (ZERO, False) if held is None else (held.version, held.is_live(self._now_ms()))
        self._outcomes[mutation.key] = Outcome(Verdict.REJECTED, stored, exists, why)


def may_be_written(mutation: Mutation, outcome: Outcome, held: Entry | None) -> bool:
    """Tell whether a mutation that was not written could be now: somebody has changed the row in between."""
    return outcome.verdict is Verdict.APPLIED and (held is None or held.version != mutation.version)


def when_written(mutation: Mutation, now_ms: int) -> Outcome:
    """Return the outcome of a mutation that is written."""
    return Outcome(Verdict.APPLIED, mutation.version, mutation.entry.is_live(now_ms))


def _too_large(mutation: Mutation, limits: Limits) -> str:
    """Say why a mutation is refused; nothing: it is not."""
    if len(mutation.entry.value or b"") > limits.max_value_bytes:
        return f"the value is larger than {limits.max_value_bytes} bytes"
    key = mutation.key
    if len(key) * 4 > limits.max_key_bytes and len(key.encode(errors="replace")) > limits.max_key_bytes:
        return f"the key is longer than {limits.max_key_bytes} bytes"
    return ""


def _kind(mutation: Mutation) -> str:
    """Tell which statement writes a mutation: that for plain writes, for new keys, or for those that exist."""
    expected = mutation.expected
    return "plain" if expected is None else "create" if expected == ZERO else "update"


def _portions(mutations: Iterable[Mutation]) -> Iterator[Sequence[Mutation]]:
    """Split into what goes into one statement."""
    portion: list[Mutation] = []
    size_bytes = 0
    for mutation in mutations:
        if portion and size_bytes + mutation.size_bytes > _STATEMENT_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(mutation)
        size_bytes += mutation.size_bytes
    yield portion
