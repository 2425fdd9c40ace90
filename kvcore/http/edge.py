"""What is the same for every request: its id and trace, its way to a handler, whether it is let in, and its time in the metrics."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from kvcore.errors import KvcoreError
from kvcore.http.gate import Gate
from kvcore.http.headers import http_date
from kvcore.http.limiting import Limiter
from kvcore.http.methods import as_options, method_not_allowed
from kvcore.http.problems import by_fault, problem, problem_of
from kvcore.http.requests import RAW_PREFIX
from kvcore.http.subject import key_of
from kvcore.logs import about
from kvcore.runtime import Instance
from kvcore.tracing import ORIGIN, Origin, Span, Tracer, traceparent_in

__all__ = ("Edge",)

logger = logging.getLogger(__name__)

_NO_OPERATION: Final = "none"
"""What is told of requests that no handler was found for, or that were refused before one was looked for."""
_OPERATION: Final = "kvcore.operation"
_MAX_PATH_CHARS: Final = 1024
"""Of what is no key: Litestar remembers the paths that it was asked for last, a thousand of them, however long they are."""
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")

Handle = Callable[[Request[Any, Any, Any]], Awaitable[ASGIApp]]


class Edge:
    """The outermost application.

    The handlers `hot` are called from here: finding and calling them costs Litestar as much as they cost themselves.
    They are Litestar's all the same, which documents them, and through which they answer alike. Those whose path goes on
    behind `RAW_PREFIX` are always called from here, since Litestar would take the key apart.
    """

    def __init__(
        self, app: ASGIApp, instance: Instance, gate: Gate, limiter: Limiter, hot: Iterable[HTTPRouteHandler] = ()
    ) -> None:
        self._app = app
        self._gate = gate
        self._limiter = limiter
        self._hot: dict[tuple[str, str], tuple[Handle, str]] = {
            (method, RAW_PREFIX if path.startswith(RAW_PREFIX) else path): (handler.fn, _operation(handler))
            for handler in hot
            for path in handler.paths
            for method in handler.http_methods
        }
        self._raw_methods = [method for method, path in self._hot if path == RAW_PREFIX]
        self._prefix = instance.tag.encode()
        self._numbers = itertools.count(1)
        self._seconds = instance.metrics.http.requests
        self._in_progress = 0
        instance.metrics.http.in_progress.set_function(lambda: self._in_progress)
        self._observers: dict[tuple[str, int], Any] = {}
        self._tracer = instance.tracer
        self._logs_requests = instance.settings.log.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        method = scope["method"]
        request_id, traceparent = self._named(scope)
        span = None if self._tracer is None else _begun(self._tracer, method, traceparent)
        # The server runs each request in a task, so in a context, of its own.
        parent = traceparent if span is None else span.traceparent
        ORIGIN.set(Origin(request_id.decode(), (parent,) if parent else ()))
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"date", http_date(time.time())),
                    (b"x-request-id", request_id),
                ]
            await send(message)

        tell: Send = send_with_id
        if method == "HEAD":
            scope = scope | {"method": "GET"}  # of the answer to which the server sends the head only
        self._in_progress += 1
        try:
            answer = await self._answer(scope, receive)
            if method == "OPTIONS":
                scope, tell = as_options(scope, tell)
            await answer(scope, receive, tell)
        finally:
            self._in_progress -= 1
            operation = self._operation_of(scope)
            seconds = time.perf_counter() - began
            self._observe(operation, status, seconds)
            if self._logs_requests:
                self._log(scope, operation, status, seconds)
            if span is not None:
                span.end({"http.response.status_code": status, "kvcore.operation": operation}, _failure(status))

    async def _answer(self, scope: HTTPScope, receive: Receive) -> ASGIApp:
        """Return the answer to a request, or, where that is Litestar's to give, Litestar."""
        request: Request[Any, Any, Any] = Request(scope, receive)
        try:
            self._limiter.admit(scope, self._in_progress)
            grant = await self._gate.admit(scope)
            self._limiter.admit_grant(grant)
            path = scope["path"]
            is_raw = bool(self._raw_methods) and path.startswith(RAW_PREFIX)
            if len(path) > _MAX_PATH_CHARS and not is_raw:
                return problem("no-such-resource", "no path here is as long as this one")
            hot = self._hot.get((scope["method"], RAW_PREFIX if is_raw else path))
            if hot is not None:
                scope[_OPERATION] = hot[1]  # type: ignore[typeddict-unknown-key]  # a scope takes what applications leave there
                return await hot[0](request)
            return method_not_allowed(self._raw_methods) if is_raw else self._app
        except KvcoreError as error:
            return problem_of(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours, which is logged
            answer: ASGIApp = by_fault(request, error)
            return answer

    def _named(self, scope: HTTPScope) -> tuple[bytes, str]:
        """Return the request's id, which is made where it has none that is fit, and its traceparent."""
        request_id = b""
        traceparents: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                if not request_id and _REQUEST_ID.fullmatch(value):
                    request_id = value
            elif name == b"traceparent":
                traceparents.append(value)
        # Of several none is believed: who has added theirs to another's cannot be told.
        traceparent = traceparent_in(traceparents[0]) if len(traceparents) == 1 else ""
        return request_id or b"%s-%x" % (self._prefix, next(self._numbers)), traceparent

    @staticmethod
    def _operation_of(scope: Any) -> str:
        """Return the operation that a request has come to: that of the handler that was called, or would be."""
        operation: str | None = scope.get(_OPERATION)
        return operation or _operation(scope.get("route_handler"))

    def _log(self, scope: HTTPScope, operation: str, status: int, seconds: float) -> None:
        """Write the line of a request that was answered."""
        told = about(
            key=key_of(scope),
            operation=operation,
            status=status,
            duration_ms=round(seconds * 1000, 3),
            client=self._limiter.caller(scope),
        )
        logger.info("%s was answered %d", operation, status, extra=told)

    def _observe(self, operation: str, status: int, seconds: float) -> None:
        observer = self._observers.get((operation, status))
        if observer is None:
            observer = self._observers[operation, status] = self._seconds.labels(operation, str(status))
        observer.observe(seconds)


def _operation(handler: Any) -> str:
    """Return a handler's name in the OpenAPI document."""
    named = getattr(handler, "operation_id", None)
    return named if isinstance(named, str) else _NO_OPERATION


def _begun(tracer: Tracer, method: str, traceparent: str) -> Span:
    return tracer.begin(method, "server", (traceparent,) if traceparent else (), {"http.request.method": method})


def _failure(status: int) -> str:
    return f"{status}" if status >= 500 else ""
