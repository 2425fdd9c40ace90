"""Exports spans, from the request through the queue to the store, to an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from kvcore.hookspecs import hookimpl
from kvcore.tracing import Tracer, Tracing
from kvcore_tracing_otel.settings import OtelSettings

__all__ = ("TRACING", "OtelSettings", "kvcore_tracers", "open_otel")


def open_otel(settings: OtelSettings, node: str) -> AbstractAsyncContextManager[Tracer]:
    """Open a tracer whose spans go to the collector; see `kvcore.tracing.Tracing`."""
    from kvcore_tracing_otel.exporting import exporting  # noqa: PLC0415 - the SDK takes long to import, and few commands use it

    return exporting(settings, node)


TRACING: Final = Tracing(name="otel", settings=OtelSettings, open=open_otel)


@hookimpl
def kvcore_tracers() -> Iterable[Tracing]:
    """Give the way to export spans "otel"."""
    return [TRACING]
