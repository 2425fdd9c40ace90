"""What the contract of a tracer promises: whose children spans are, and which are made at all."""

from __future__ import annotations

from typing import Any

import pytest

from kvcore.tracing import Tracer, trace_id_of, traceparent_in
from kvcore_tracing_otel import OtelSettings

SAMPLED = f"00-{'a1' * 16}-{'b2' * 8}-01"
OTHER = f"00-{'c3' * 16}-{'d4' * 8}-01"
NOT_SAMPLED = f"00-{'e5' * 16}-{'f6' * 8}-00"


def test_nothing_has_to_be_set() -> None:
    """Without settings spans go to a collector on this machine, all of them."""
    assert OtelSettings().endpoint == "http://127.0.0.1:4318/v1/traces"


async def test_a_span_is_a_child_of_the_first_and_linked_to_the_others(opened: Any, collector: Any) -> None:
    """The first traceparent is the parent, and the rest are links, in other traces or in the same one."""
    async with opened() as tracer:
        tracer.begin("work", "consumer", (SAMPLED, OTHER), {"count": 2}).end({"done": "yes"})
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == ("a1" * 16, "b2" * 8)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [("c3" * 16, "d4" * 8)]
    assert {one.key: one.value.string_value or one.value.int_value for one in span.attributes} == {
        "count": 2,
        "done": "yes",
    }


async def test_a_span_without_parents_is_the_first_of_a_trace(opened: Any, collector: Any) -> None:
    """Without a traceparent each span begins a trace of its own."""
    async with opened() as tracer:
        for _ in range(2):
            tracer.begin("work", "server", (), {}).end({})
    first, second = collector.spans
    assert first.trace_id != second.trace_id
    assert not first.parent_span_id


async def test_a_traceparent_names_the_span_as_a_parent(opened: Any, collector: Any) -> None:
    """The traceparent of a span has the standard's form and the span's ids: what it is handed to is a child."""
    async with opened() as tracer:
        parent = tracer.begin("outer", "server", (SAMPLED,), {})
        assert traceparent_in(parent.traceparent.encode()) == parent.traceparent
        assert trace_id_of(parent.traceparent) == "a1" * 16
        tracer.begin("inner", "client", (parent.traceparent,), {}).end({})
        parent.end({})
    inner, outer = collector.spans
    assert inner.parent_span_id == outer.span_id
    assert (inner.kind, outer.kind) == (inner.SPAN_KIND_CLIENT, outer.SPAN_KIND_SERVER)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_a_caller_s_decision_is_respected(opened: Any, collector: Any, ratio: float) -> None:
    """What is sampled upstream is sampled, and what is not is not, whatever the ratio; and the flag is passed on."""
    async with opened(sample_ratio=ratio) as tracer:
        for traceparent in (SAMPLED, NOT_SAMPLED):
            span = tracer.begin("work", "server", (traceparent,), {})
            assert span.traceparent[-2:] == traceparent[-2:]
            span.end({})
    assert [span.trace_id.hex() for span in collector.spans] == ["a1" * 16]


async def test_the_ratio_is_for_those_without_a_caller(opened: Any, collector: Any) -> None:
    """With a ratio of 0 no request without a traceparent makes a span, and those after it are told so."""
    async with opened(sample_ratio=0.0) as tracer:
        span = tracer.begin("work", "server", (), {})
        assert int(span.traceparent[-2:], 16) & 1 == 0
        span.end({})
    assert collector.spans == []


async def test_a_failure_is_the_status_of_its_span(opened: Any, collector: Any) -> None:
    """What went wrong stands in the status; a span that ended well has none."""
    async with opened() as tracer:
        tracer.begin("bad", "client", (), {}).end({}, "UnavailableError")
        tracer.begin("good", "client", (), {}).end({})
    bad, good = collector.spans
    assert (bad.status.code, bad.status.message) == (2, "UnavailableError")
    assert good.status.code == 0


async def test_a_closed_tracer_harms_nobody(opened: Any, collector: Any) -> None:
    """Who has kept a tracer beyond its end may still call it; nothing is sent."""
    async with opened() as tracer:
        pass
    late: Tracer = tracer
    late.begin("late", "server", (SAMPLED,), {}).end({})
    assert collector.spans == []


async def test_the_sdk_can_be_switched_off(opened: Any, collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED makes all spans nothing; the traceparent of a caller is passed on as it is."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with opened() as tracer:
        assert tracer.begin("work", "server", (SAMPLED,), {}).traceparent == SAMPLED
        nothing = tracer.begin("work", "server", (), {})
        assert nothing.traceparent == ""
        nothing.end({})
    assert collector.spans == []
