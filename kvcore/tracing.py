"""For whom work is done: the request that it belongs to, and the trace that this request is a part of.

The traces are those of W3C Trace Context (https://www.w3.org/TR/trace-context/): a `traceparent` names a trace, the span in
it that is the parent of what comes next, and whether it is sampled. A node takes it from the request, every mutation
carries it through the queue, and so a worker's line and a proxy's line have the trace id in common. Spans are made only
where a plugin gives a `Tracer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, Protocol

import msgspec

__all__ = (
    "NOBODY",
    "ORIGIN",
    "Origin",
    "Span",
    "SpanKind",
    "Tracer",
    "Tracing",
    "joined",
    "span_of",
    "trace_id_of",
    "traceparent_in",
)

SpanKind = Literal["server", "client", "consumer"]

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<rest>-.*)?"
)
_MOST_JOINED: Final = 32


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The request that work is done for; for a bulk call, the `traceparents` of those that were joined into it."""

    request_id: str = ""
    traceparents: tuple[str, ...] = ()

    @property
    def traceparent(self) -> str:
        """The parent of what comes next; empty: there is no trace."""
        return self.traceparents[0] if self.traceparents else ""


NOBODY: Final = Origin()
ORIGIN: Final[ContextVar[Origin]] = ContextVar("kvcore_origin", default=NOBODY)
"""Of the work that is being done now."""


def traceparent_in(given: bytes) -> str:
    """Return a `traceparent` header field as it is to be passed on; empty: it is none, and is ignored as the standard wants it."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None or (given[:2] == b"00" and found["rest"]):
        return ""
    # A later version may go on with more; what is passed on is the version that is known here.
    return f"00-{given[3:55].decode()}"


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a traceparent: 32 hex digits; empty: there is none."""
    return traceparent[3:35]


def joined(origins: Iterable[Origin]) -> Origin:
    """Return the origin of a bulk call: that of the only request, or the traces of the first ones."""
    different = list(dict.fromkeys(origins))
    if len(different) == 1:
        return different[0]
    traceparents = dict.fromkeys(one.traceparent for one in different if one.traceparents)
    return Origin("", tuple(traceparents)[:_MOST_JOINED])


class Span(Protocol):
    """A piece of work that has begun."""

    @property
    def traceparent(self) -> str:
        """What names this span as the parent of others; empty: nothing does."""
        ...

    def end(self, attributes: Mapping[str, str | int], failure: str = "") -> None:
        """End the span, once; `failure` says what went wrong, if anything did."""
        ...


class Tracer(Protocol):
    """Makes spans. Its methods are called on the hot path: they must return at once and raise nothing."""

    def begin(
        self, name: str, kind: SpanKind, traceparents: Sequence[str], attributes: Mapping[str, str | int]
    ) -> Span:
        """Begin a span: a child of the first of `traceparents`, or, without any, the first of a trace; the others are linked."""
        ...


@contextmanager
def span_of(
    tracer: Tracer, name: str, kind: SpanKind, origin: Origin, attributes: Mapping[str, str | int]
) -> Iterator[None]:
    """Do what follows in a span of its own, which is the parent of what is done in it: `ORIGIN` names it meanwhile."""
    span = tracer.begin(name, kind, origin.traceparents, attributes)
    parent = span.traceparent
    entered = ORIGIN.set(Origin(origin.request_id, (parent,) if parent else ()))
    failure = ""
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        ORIGIN.reset(entered)
        span.end({}, failure)


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """How to make a tracer: what a plugin registers, and `tracing.exporter` chooses by `name`.

    `settings` is a frozen msgspec Struct; its table is `[tracing.<name>]` in the configuration file. `open` takes it and
    the name of the node or worker, and returns an async context manager that yields a tracer, and on leaving sends what it
    still has, within seconds. It raises `SettingsError` where the settings cannot work, and not for a server that is away.
    """

    name: str
    settings: type[msgspec.Struct]
    open: Callable[[Any, str], AbstractAsyncContextManager[Tracer]]
