"""For whom work is done: which trace and which request reach the calls to the tiers, and what is logged of a write."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.errors import UnavailableError
from kvcore.logs import JsonLines, hashed
from kvcore.model import Mutation, Outcome
from kvcore.settings import LogSettings
from kvcore.tiers import Tier
from kvcore.tracing import NOBODY, ORIGIN, Origin, SpanKind, joined, span_of, trace_id_of, traceparent_in
from tests.unit.core.stage import Stage, settings_of

FIRST = f"00-{'a1' * 16}-{'b2' * 8}-01"
SECOND = f"00-{'c3' * 16}-{'d4' * 8}-00"


class FakeSpan:
    """A span, as it was begun, and how it ended."""

    def __init__(self, name: str, kind: SpanKind, parents: Sequence[str], number: int) -> None:
        self.name, self.kind, self.parents = name, kind, tuple(parents)
        self.traceparent = f"{parents[0][:36] if parents else f'00-{number:032x}-'}{number:016x}-01"
        self.ends: list[str] = []

    def end(self, attributes: Mapping[str, str | int], failure: str = "") -> None:
        self.ends.append(failure)


class FakeTracer:
    """Keeps the spans that were begun."""

    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []

    def begin(
        self, name: str, kind: SpanKind, traceparents: Sequence[str], attributes: Mapping[str, str | int]
    ) -> FakeSpan:
        self.spans.append(FakeSpan(name, kind, traceparents, len(self.spans) + 1))
        return self.spans[-1]

    def named(self, name: str) -> FakeSpan:
        """Return the only span of a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span


class TracedStage(Stage):
    """A stage whose tiers make spans."""

    def __init__(self, **given: Any) -> None:
        self.tracer = FakeTracer()
        super().__init__(**given)

    def _tiers(self, **backends: Any) -> dict[str, Any]:
        tiers: dict[str, Tier[Any]] = super()._tiers(**backends)
        return {kind: Tier(tier.kind, tier.backend, tier.settings, tracer=self.tracer) for kind, tier in tiers.items()}


async def put_for(stage: Stage, key: str, *traceparents: str, value: bytes = b"value", **how: Any) -> None:
    """Write a key for a request."""

    async def put() -> None:
        ORIGIN.set(Origin(f"request of {key}", traceparents))
        await stage.service.put(key, value, **how)

    await asyncio.create_task(put())


def origins_of(stage: Stage) -> list[Origin]:
    """Return a list that is going to have the origin of each call that applies mutations to the store."""
    seen: list[Origin] = []
    apply = stage.store.apply

    async def watched(mutations: Sequence[Mutation]) -> Sequence[Outcome]:
        seen.append(ORIGIN.get())
        return await apply(mutations)

    stage.store.apply = watched  # type: ignore[method-assign]  # what services and workers call that are made from now on
    stage.service = stage.node()
    return seen


def lines(records: Sequence[logging.LogRecord]) -> list[dict[str, Any]]:
    """Return records as the members of lines."""
    return [json.loads(JsonLines().format(record)) for record in records]


# --- what a traceparent is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (FIRST, FIRST),
        (SECOND, SECOND),
        (f"01-{FIRST[3:]}", FIRST),
        (f"cc-{FIRST[3:]}-what-comes-later", FIRST),
        (f"{FIRST}-what-comes-later", ""),
        (f"{FIRST}-", ""),
        (f"{FIRST} ", ""),
        (f" {FIRST}", ""),
        (f"{FIRST}\n", ""),
        (f"ff-{FIRST[3:]}", ""),
        (FIRST.upper(), ""),
        (FIRST[:-1], ""),
        (f"00-{'0' * 32}-{'b2' * 8}-01", ""),
        (f"00-{'a1' * 16}-{'0' * 16}-01", ""),
        (FIRST.replace("-", "_"), ""),
        ("", ""),
    ],
)
def test_a_traceparent_is_passed_on_if_it_is_one(given: str, passed_on: str) -> None:
    """What is malformed by https://www.w3.org/TR/trace-context/ is ignored; one of a later version is read as far as it is known."""
    assert traceparent_in(given.encode()) == passed_on


@given(
    st.one_of(st.binary(), st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
)
def test_what_is_passed_on_is_well_formed(given_bytes: bytes) -> None:
    """Whatever is sent, what goes on has 55 characters and is passed on unchanged by whoever comes next."""
    passed_on = traceparent_in(given_bytes)
    assert passed_on == "" or (len(passed_on) == 55 and traceparent_in(passed_on.encode()) == passed_on)
    assert trace_id_of(passed_on) == passed_on[3:35]


def test_a_bulk_call_belongs_to_all_its_requests() -> None:
    """One request stays itself; of several their traces stay, each once and 32 at most; none of them is nobody's."""
    one, other = Origin("1", (FIRST,)), Origin("2", (SECOND,))
    assert joined([one, one]) is one
    assert joined([one, other, Origin("3", (FIRST,)), Origin("4")]) == Origin("", (FIRST, SECOND))
    assert joined([]) == NOBODY
    many = [Origin("", (f"00-{number:032x}-{number:016x}-01",)) for number in range(1, 100)]
    assert joined(many).traceparents == tuple(origin.traceparent for origin in many[:32])


# --- from a request to the store --------------------------------------------------------------------------------------


async def test_a_trace_goes_through_the_queue_to_the_store() -> None:
    """What a worker applies is applied in the trace of the request that has written it, with no tracer either."""
    stage = Stage()
    seen = origins_of(stage)
    await put_for(stage, "key", FIRST)
    async with stage.working():
        await stage.drained()
    assert seen == [Origin("", (FIRST,))]


async def test_a_delivery_belongs_to_all_its_mutations() -> None:
    """What a worker applies at once belongs to the traces of all; those without one change nothing; and the next is not touched."""
    stage = Stage()
    seen = origins_of(stage)
    await asyncio.gather(put_for(stage, "a", FIRST), put_for(stage, "b"), put_for(stage, "c", SECOND))
    async with stage.working():
        await stage.drained()
        await put_for(stage, "d")
        await stage.drained()
    assert seen == [Origin("", (FIRST, SECOND)), NOBODY]


async def test_each_step_of_a_write_is_a_child_of_the_one_before() -> None:
    """With a tracer, a publish is the request's child, the worker's span is too, and its calls to store and cache are that one's."""
    stage = TracedStage()
    async with stage.working():
        await put_for(stage, "key", FIRST, ack="stored")
    spans = stage.tracer
    assert spans.named("queue.submit").parents == spans.named("writes process").parents == (FIRST,)
    for call in ("store.apply", "cache.refresh"):
        assert spans.named(call).parents == (spans.named("writes process").traceparent,)
    assert {span.kind for span in spans.spans} == {"client", "consumer"}
    assert all(span.ends == [""] for span in spans.spans)


async def test_a_joined_call_is_linked_to_all_its_requests() -> None:
    """One bulk call for two requests is one span, of the first's trace, with a link to the second's."""
    stage = TracedStage()
    await asyncio.gather(put_for(stage, "a", FIRST), put_for(stage, "b", SECOND))
    assert stage.tracer.named("queue.publish").parents == (FIRST, SECOND)


async def test_what_nobody_asked_for_makes_no_spans() -> None:
    """A worker looks at its queue at every interval, for nobody's trace."""
    stage = TracedStage()
    async with stage.working():
        await asyncio.sleep(60)
    assert stage.tracer.spans == []


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()], ids=["an error", "cancelled"])
def test_a_span_tells_how_it_has_failed(error: BaseException) -> None:
    """Whatever ends what is done in a span ends the span, once, with its name; and the origin is what it was."""
    tracer = FakeTracer()
    seen: list[Origin] = []

    def fail() -> None:
        with span_of(tracer, "work", "client", Origin("r", (FIRST,)), {}):
            seen.append(ORIGIN.get())
            raise error

    with pytest.raises(type(error)):
        fail()
    assert seen == [Origin("r", (tracer.spans[0].traceparent,))]
    assert tracer.spans[0].ends == [type(error).__name__]
    assert ORIGIN.get() is NOBODY


# --- what is logged of one write --------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_queue", [True, False], ids=["by a worker", "directly"])
@pytest.mark.parametrize("requests", [True, False])
async def test_each_mutation_has_a_line_where_lines_are_asked_for(
    caplog: pytest.LogCaptureFixture, with_queue: bool, requests: bool
) -> None:
    """With `log.requests` each mutation is told, with its verdict, version, key and trace; without it none is."""
    caplog.set_level(logging.INFO)
    stage = Stage(with_queue=with_queue, settings=settings_of(log=LogSettings(requests=requests)))
    async with stage.working():
        await asyncio.gather(put_for(stage, "a", FIRST, ack="stored"), put_for(stage, "b", SECOND, ack="stored"))
    told = {line["key"]: line for line in lines(caplog.records) if "verdict" in line}
    if not requests:
        assert told == {}
        return
    assert set(told) == {hashed("a"), hashed("b")}
    assert (told[hashed("a")]["trace_id"], told[hashed("b")]["trace_id"]) == ("a1" * 16, "c3" * 16)
    assert told[hashed("a")]["version"] == stage.store.entries["a"].version
    assert told[hashed("a")]["verdict"] == "applied"


async def test_a_mutation_that_the_store_refuses_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The line about a rejected mutation has its key and its trace, and not those of others in the same delivery."""
    stage = Stage()
    stage.store.poison.add(b"poison")
    await asyncio.gather(put_for(stage, "good", FIRST), put_for(stage, "bad", SECOND, value=b"poison"))
    async with stage.working():
        await stage.drained()
    (line,) = [line for line in lines(caplog.records) if line["message"].startswith("the store refuses")]
    assert (line["level"], line["key"], line["trace_id"]) == ("error", hashed("bad"), "c3" * 16)


async def test_a_write_that_is_given_up_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The line about a direct write whose fate stays unknown has its key and its trace."""
    stage = Stage(with_queue=False)
    stage.fail(store="after")
    with pytest.raises(UnavailableError):
        await put_for(stage, "key", FIRST)
    await asyncio.sleep(60)
    (line,) = [line for line in lines(caplog.records) if line["message"].startswith("gave up")]
    assert (line["key"], line["trace_id"]) == (hashed("key"), "a1" * 16)
    await stage.service.aclose()


async def test_settling_a_write_belongs_to_that_write(caplog: pytest.LogCaptureFixture) -> None:
    """What is tried later is done for the writes that it is about, and not for the request that was the first to fail."""
    stage = Stage(with_queue=False)
    seen = origins_of(stage)
    stage.fail(store="after")
    for key, traceparent in (("a", FIRST), ("b", SECOND)):
        with pytest.raises(UnavailableError):
            await put_for(stage, key, traceparent)
    stage.heal()
    del seen[:]
    await asyncio.sleep(10)
    assert [origin.traceparents for origin in seen] in ([(FIRST,), (SECOND,)], [(SECOND,), (FIRST,)])
    await stage.service.aclose()
