"""Opening the tracer: what becomes of spans that have ended, whatever becomes of the collector.

They wait in a queue that is bounded, and a thread sends them in batches. While the collector is away, batches are dropped
after some seconds, and so is what does not fit into the queue; nobody who serves a request waits for any of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from threading import Thread
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from kvcore_tracing_otel.settings import OtelSettings, check_endpoint, headers_of
from kvcore_tracing_otel.tracer import OtelTracer

__all__ = ("exporting",)

logger = logging.getLogger(__name__)

_QUEUE_SPANS: Final = 8192
_BATCH_SPANS: Final = 512
_INTERVAL_MS: Final = 1000
_EXPORT_S: Final = 5.0
"""After this time a batch that the collector has not taken is dropped."""
_CLOSE_S: Final = 3.0
"""How long the spans that wait at the end may take to be sent."""
_EXPORTER_LOG: Final = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


@asynccontextmanager
async def exporting(settings: OtelSettings, node: str) -> AsyncIterator[OtelTracer]:
    """Yield a tracer whose spans go to the collector.

    Raises:
        SettingsError: the endpoint or the header fields cannot be used.
    """
    check_endpoint(settings.endpoint)
    exporter = _SayingOnce(
        OTLPSpanExporter(endpoint=settings.endpoint, headers=headers_of(settings), timeout=_EXPORT_S)
    )
    release = version("kvcore")
    attributes = {"service.name": settings.service_name, "service.instance.id": node, "service.version": release}
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.sample_ratio),
        resource=Resource.create(attributes),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_QUEUE_SPANS,
            max_export_batch_size=_BATCH_SPANS,
            schedule_delay_millis=_INTERVAL_MS,
        )
    )
    _EXPORTER_LOG.addFilter(exporter.hear)
    try:
        yield OtelTracer(provider.get_tracer("kvcore", release))
    finally:
        await _close(provider, exporter)


async def _close(provider: TracerProvider, exporter: _SayingOnce) -> None:
    """Send what is left, and give it up after a while."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def close() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop is no more, and so is whoever waited
            loop.call_soon_threadsafe(closed.set)

    Thread(target=close, name="close tracing", daemon=True).start()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await closed.wait()
        _EXPORTER_LOG.removeFilter(exporter.hear)
    except TimeoutError:
        logger.warning("the last spans were not taken within %g s and are lost", _CLOSE_S)
    finally:
        exporter.shutdown()  # which ends its waits, and so the thread


class _SayingOnce(SpanExporter):
    """An exporter that says once that it cannot send, and why, and once that it can again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reason = ""
        self._is_failing = self._is_shut = False

    def hear(self, record: logging.LogRecord) -> bool:
        """Keep what the exporter has to say, as a filter of its log: it says something for each try of each batch."""
        self._reason = self._reason or record.getMessage()
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._is_shut:
            return SpanExportResult.FAILURE
        self._reason = ""
        result = self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            logger.warning("spans are not taken, and are dropped until they are: %s", self._reason)
        elif self._is_failing and not is_failing:
            logger.info("spans are taken again")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
