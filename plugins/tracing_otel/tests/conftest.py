"""A collector of the tests' own, which keeps the spans that it is sent."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kvcore.testing.waiting import eventually
from kvcore.tracing import Tracer
from kvcore_tracing_otel import OtelSettings, open_otel


class Collector:
    """Takes spans by OTLP over HTTP, on a port of its own, or refuses them with `status`."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(dict(self.headers), self.rfile.read(int(self.headers["content-length"])))
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Keep what was sent, unless it is refused."""
        self.headers.append(headers)
        if self.status != 200:
            return
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({one.key: one.value.string_value for one in sent.resource.attributes})
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]

    async def named(self, name: str) -> Any:
        """Wait for a span of a name, and return it."""

        async def found() -> list[Any]:
            return [span for span in list(self.spans) if span.name == name]

        return (await eventually(found, within_s=30, what=f"a span {name}"))[0]

    async def asked(self, times: int) -> None:
        """Wait until it has been asked that often."""

        async def were_asked() -> bool:
            return len(self.headers) >= times

        await eventually(were_asked, within_s=30, what=f"{times} batches")

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Give a collector."""
    made = Collector()
    yield made
    made.close()


Opened = Callable[..., AbstractAsyncContextManager[Tracer]]


@pytest.fixture
def opened(collector: Collector) -> Opened:
    """Give a function that opens a tracer whose spans go to the collector."""

    @asynccontextmanager
    async def open_it(**settings: Any) -> AsyncIterator[Tracer]:
        async with open_otel(OtelSettings(endpoint=collector.endpoint, **settings), "node-1") as tracer:
            yield tracer

    return open_it
