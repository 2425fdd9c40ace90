"""The tracer that kvcore calls, over that of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.status import Status, StatusCode

from kvcore.tracing import SpanKind

__all__ = ("OtelSpan", "OtelTracer")

_KINDS: Final[Mapping[SpanKind, trace.SpanKind]] = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}
_ROOT: Final = Context()
"""Of a span without a parent: no other library's current span becomes one."""


class OtelSpan:
    """A span that has begun; one that is not sampled costs little and is sent nowhere."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        if not context.is_valid:  # where the SDK was switched off by its own variables
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"

    def end(self, attributes: Mapping[str, str | int], failure: str = "") -> None:
        if self._span.is_recording():
            self._span.set_attributes(attributes)
            if failure:
                self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end()


class OtelTracer:
    """Makes spans that end in the queue of a batch processor, which takes them without waiting, or drops them."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(
        self, name: str, kind: SpanKind, traceparents: Sequence[str], attributes: Mapping[str, str | int]
    ) -> OtelSpan:
        contexts = [_context_of(traceparent) for traceparent in traceparents]
        parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]), _ROOT) if contexts else _ROOT
        links = [trace.Link(context) for context in contexts[1:]]
        return OtelSpan(self._tracer.start_span(name, parent, _KINDS[kind], attributes, links))


def _context_of(traceparent: str) -> trace.SpanContext:
    """Return what a traceparent of version 00 names; kvcore has checked its form."""
    flags = trace.TraceFlags(int(traceparent[53:55], 16))
    return trace.SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True, trace_flags=flags)
