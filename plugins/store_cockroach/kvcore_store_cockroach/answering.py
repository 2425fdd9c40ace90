"""The guarded apply of requests that may be sent again: each is answered once, and from then on with that.

What was answered is a row of `answered`, whose primary key, the `request_id`, decides: of any number at once on one request
one can put it there. A statement that writes a mutation puts it there as well, or does nothing at all: it looks for it first,
and where two have looked at the same moment the second breaks the primary key, is undone, and finds it when it is sent again.

What was not written for another reason is decided as in `writing`, and if that is an answer, put there too, unless another
one is there by now: then that is the answer. So it does not matter what else is under way, be it a statement whose connection
was lost: it will find the row, or break its key. Nothing remains in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from kvcore.model import Mutation, Outcome, Version, is_final, judge
from kvcore_store_cockroach.arrays import Blobs, Integers, Texts
from kvcore_store_cockroach.writing import Writing, may_be_written, when_written

__all__ = ("Answering",)

_OUTCOMES: Final = msgspec.json.Decoder(Outcome)


class Answering(Writing):
    """One call of `Store.apply`, of mutations with a `request_id`."""

    def _statement(self, kind: str, mutations: Sequence[Mutation], now_ms: int) -> tuple[str, dict[str, Any]]:
        name, parameters = super()._statement(kind, mutations, now_ms)
        outcomes = [when_written(mutation, now_ms) for mutation in mutations]
        return f"{name}_once", parameters | _answers(mutations, outcomes)

    async def _decide_all(self, mutations: Sequence[Mutation], now_ms: int) -> None:
        held = await self._held([mutation.key for mutation in mutations])
        # Read in this order: what is not answered now was not when the above was so.
        answered = await self._answered(mutations)
        final: list[tuple[Mutation, Outcome]] = []
        for mutation in mutations:
            known, entry = answered.get(mutation.request_id), held.get(mutation.key)
            outcome = known or judge(mutation, entry, now_ms)
            if known or not is_final(mutation, outcome):
                self._outcomes[mutation.key] = outcome
            elif not may_be_written(mutation, outcome, entry):
                final.append((mutation, outcome))
        if final:
            await self._answer(final)

    async def _answered(self, mutations: Sequence[Mutation]) -> Mapping[bytes, Outcome]:
        """Return the outcomes of those requests that have been answered."""
        request_ids = Blobs.of([mutation.request_id for mutation in mutations])
        rows = await self._executor.read("answers", {"request_ids": request_ids})
        return {request_id: _OUTCOMES.decode(outcome) for request_id, outcome in rows}

    async def _answer(self, final: Sequence[tuple[Mutation, Outcome]]) -> None:
        """Keep outcomes that change nothing. Those requests that somebody else has answered by now are left for another round."""
        mutations, outcomes = zip(*final, strict=True)
        rows = await self._executor.read("answer", _answers(mutations, outcomes))
        kept = {request_id for (request_id,) in rows}
        self._outcomes.update((one.key, outcome) for one, outcome in final if one.request_id in kept)


def _answers(mutations: Sequence[Mutation], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return columns of `answered` as parameters."""
    return {
        "request_ids": Blobs.of([mutation.request_id for mutation in mutations]),
        "times_ms": Integers.of([_written_ms(mutation.version) for mutation in mutations]),
        "outcomes": Texts.of([msgspec.json.encode(outcome).decode() for outcome in outcomes]),
    }


def _written_ms(version: Version) -> int:
    return int(version[:12], 16)
