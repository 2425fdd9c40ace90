"""The HTTP application over a running node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.openapi.config import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler

from kvcore.errors import KvcoreError, PluginError
from kvcore.http.admin import admin_handlers
from kvcore.http.batch import batch_handlers
from kvcore.http.edge import Edge
from kvcore.http.exposition import Exposition
from kvcore.http.gate import gate_of
from kvcore.http.health import health_handlers
from kvcore.http.keys import listing_handlers
from kvcore.http.kv import kv_handlers
from kvcore.http.limiting import Limiter
from kvcore.http.methods import method_not_allowed
from kvcore.http.pages import openapi_config, page_handlers
from kvcore.http.problems import by_fault, problem, problem_of
from kvcore.http.raw import raw_handlers
from kvcore.http.stats import stats_handlers
from kvcore.plugins import Plugins
from kvcore.runtime import Node, WorkerInstance

__all__ = ("build_app", "build_worker_app")


def build_app(node: Node, plugins: Plugins, exposition: Exposition | None = None) -> ASGIApp:
    """Return the application: kvcore's own handlers and those of the plugins. `exposition`: see `health_handlers`.

    Raises:
        PluginError: a plugin's path is taken.
    """
    keys = [*kv_handlers(node.service), *raw_handlers(node.service)]
    limits = node.settings.limits
    many = [
        *listing_handlers(node.service, limits.page_bytes),
        *batch_handlers(node.service, limits, node.metrics.http.batch_operations),
    ]
    operations = [*health_handlers(node, exposition), *stats_handlers(node.service, node.metrics)]
    own = [*keys, *many, *operations, *admin_handlers(node, plugins), *page_handlers()]
    given = [handler for handlers in plugins.given("kvcore_routes") for handler in handlers]
    limiter = Limiter(node.settings, node.metrics)
    try:
        return Edge(_litestar([*own, *given], openapi_config(own)), node, gate_of(node), limiter, keys)
    except Exception as error:
        if given:
            raise PluginError(f"the routes that plugins give do not go together with kvcore's: {error}") from error
        raise


def build_worker_app(worker: WorkerInstance) -> ASGIApp:
    """Return the application of a worker: its health and its metrics."""
    limiter = Limiter(worker.settings, worker.metrics)
    return Edge(_litestar(health_handlers(worker), None), worker, gate_of(worker), limiter)


def _litestar(handlers: Sequence[ControllerRouterHandler], openapi: OpenAPIConfig | None) -> Litestar:
    return Litestar(
        handlers,
        openapi_config=openapi,
        exception_handlers={KvcoreError: _on_purpose, HTTPException: _by_litestar, Exception: by_fault},
        logging_config=None,
    )


# Litestar types the result of an exception handler as its own Response, and asks only for `to_asgi_response`.


def _on_purpose(request: Request[Any, Any, Any], error: KvcoreError) -> Any:
    return problem_of(error)


def _by_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Any:
    status = error.status_code
    if isinstance(error, MethodNotAllowedException):
        return method_not_allowed((error.headers or {}).get("allow", "").split(", "))
    if status == 404:
        return problem("no-such-resource", "there is nothing at this path; /docs of a node lists what there is")
    if status == 413:
        return problem("body-too-large", "the body is larger than a request may be", [(b"connection", b"close")])
    if status < 500:
        return problem("invalid-request", error.detail)
    return by_fault(request, error)
