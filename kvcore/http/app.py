"""The HTTP application over a running node."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, HTTPScope, Message, Receive, Scope, Send

from kvcore.errors import KvcoreError, PluginError
from kvcore.http.health import health_handlers
from kvcore.http.kv import kv_handlers
from kvcore.http.pages import openapi_config, page_handlers
from kvcore.http.problems import problem, problem_of
from kvcore.plugins import Plugins
from kvcore.runtime import Drain, Instance, Node

__all__ = ("build_app", "build_worker_app")

logger = logging.getLogger(__name__)

_METHODS: Final = frozenset(("GET", "PUT", "DELETE", "POST", "HEAD", "OPTIONS", "PATCH"))
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")


def build_app(node: Node, plugins: Plugins) -> ASGIApp:
    """Return the application: kvcore's own handlers and those of the plugins.

    Raises:
        PluginError: a plugin's path is taken.
    """
    keys = kv_handlers(node.service)
    own = [*keys, *health_handlers(node), *page_handlers()]
    given = [handler for handlers in plugins.given("kvcore_routes") for handler in handlers]
    try:
        return Edge(_litestar([*own, *given], openapi_config()), node, keys)
    except Exception as error:
        if given:
            raise PluginError(f"the routes that plugins give do not go together with kvcore's: {error}") from error
        raise


def build_worker_app(drain: Drain) -> ASGIApp:
    """Return the application of a worker: its health and its metrics."""
    return Edge(_litestar(health_handlers(drain), None), drain)


def _litestar(handlers: Sequence[ControllerRouterHandler], openapi: OpenAPIConfig | None) -> Litestar:
    return Litestar(
        handlers,
        openapi_config=openapi,
        exception_handlers={KvcoreError: _on_purpose, HTTPException: _by_litestar, Exception: _by_fault},
        logging_config=None,
    )


Handle = Callable[[Request[Any, Any, Any]], Awaitable[ASGIApp]]


class Edge:
    """What is the same for every request: its id, and its time in the metrics.

    The handlers `hot` are called from here: finding and calling them costs Litestar as much as they cost themselves.
    They are Litestar's all the same, which documents them, and through which they answer alike.
    """

    def __init__(self, app: ASGIApp, instance: Instance, hot: Iterable[HTTPRouteHandler] = ()) -> None:
        self._app = app
        self._hot: dict[tuple[str, str], Handle] = {
            (method, path): handler.fn for handler in hot for path in handler.paths for method in handler.http_methods
        }
        self._prefix = instance.tag.encode()
        self._numbers = itertools.count(1)
        self._seconds = instance.metrics.requests
        self._in_progress = 0
        instance.metrics.in_progress.set_function(lambda: self._in_progress)
        self._observers: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = self._request_id(scope)
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        handle = self._hot.get((scope["method"], scope["path"]))
        self._in_progress += 1
        try:
            if handle is None:
                await self._app(scope, receive, send_with_id)
            else:
                answer = await _answered(handle, Request(scope, receive))
                await answer(scope, receive, send_with_id)
        finally:
            self._in_progress -= 1
            self._observe(scope["method"], status, time.perf_counter() - began)

    def _request_id(self, scope: HTTPScope) -> bytes:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                return value
        made = b"%s-%x" % (self._prefix, next(self._numbers))
        scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != b"x-request-id"), (b"x-request-id", made)]
        return made

    def _observe(self, method: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"
        observer = self._observers.get((method, status))
        if observer is None:
            observer = self._observers[method, status] = self._seconds.labels(method, str(status))
        observer.observe(seconds)


async def _answered(handle: Handle, request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the answer to a request, as Litestar would with the exception handlers that it was given."""
    try:
        return await handle(request)
    except KvcoreError as error:
        return problem_of(error)
    except Exception as error:  # noqa: BLE001 - a fault of ours, which is logged
        answer: ASGIApp = _by_fault(request, error)
        return answer


# Litestar types the result of an exception handler as its own Response, and asks only for `to_asgi_response`.


def _on_purpose(request: Request[Any, Any, Any], error: KvcoreError) -> Any:
    return problem_of(error)


def _by_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Any:
    status = error.status_code
    if isinstance(error, MethodNotAllowedException):
        path = request.scope["path"]
        methods = {
            method for route in request.app.routes if route.path == path for method in getattr(route, "methods", ())
        }
        allowed = ", ".join(sorted(methods))
        return problem("method-not-allowed", f"this path knows {allowed}", [(b"allow", allowed.encode())])
    if status == 404:
        return problem("no-such-resource", "there is nothing at this path; /docs of a node lists what there is")
    if status == 413:
        return problem("body-too-large", "the body is larger than a request may be", [(b"connection", b"close")])
    if status < 500:
        return problem("invalid-request", error.detail)
    return _by_fault(request, error)


def _by_fault(request: Request[Any, Any, Any], error: Exception) -> Any:
    request_id = request.headers.get("x-request-id", "")
    logger.error("request %s failed by a fault", request_id, exc_info=error)
    return problem("internal", f"a fault of this service; its log has it under {request_id}")
