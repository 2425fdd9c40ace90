"""`/health` and `/metrics`: what load balancers, monitoring and people ask a node or a worker."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kvcore.http.answers import Answer
from kvcore.http.openapi import JsonAnswer, described
from kvcore.http.problems import problem
from kvcore.http.requests import NoQuery, read_query
from kvcore.runtime import Instance

__all__ = ("health_handlers",)

AnyRequest = Request[Any, Any, Any]
_RETRY: Final = [(b"retry-after", b"1")]
_NO_STORE: Final = (b"cache-control", b"no-store")


def health_handlers(instance: Instance) -> list[HTTPRouteHandler]:
    """Return the handlers of `/health…` and `/metrics` over a node or worker."""

    @get(
        "/health",
        operation_class=described(
            query=NoQuery,
            answers={
                200: JsonAnswer("Healthy, or degraded: some tier is down and the others go on.", {"status": "healthy"}),
                503: JsonAnswer("Unhealthy: nothing but what is cached can be served.", {"status": "unhealthy"}),
            },
            problems=("invalid-request",),
        ),
        operation_id="getHealth",
        summary="The node and its tiers",
        tags=["operations"],
    )
    async def health(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        found = await instance.health()
        status = 503 if found.status == "unhealthy" else 200
        return Answer(status, msgspec.json.encode(found), headers=[_NO_STORE])

    @get(
        "/health/live",
        operation_class=described(
            query=NoQuery,
            answers={200: JsonAnswer("The process answers; no tier is asked.", {"status": "alive"})},
            problems=("invalid-request",),
        ),
        operation_id="getLiveness",
        summary="Whether the process answers",
        tags=["operations"],
    )
    async def live(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        return Answer(200, b'{"status":"alive"}', headers=[_NO_STORE])

    @get(
        "/health/ready",
        operation_class=described(
            query=NoQuery,
            answers={200: JsonAnswer("Send requests here.", {"status": "ready"})},
            problems=("invalid-request", "draining"),
        ),
        operation_id="getReadiness",
        summary="Whether to send requests here",
        tags=["operations"],
    )
    async def ready(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        if instance.phase != "ready":
            return problem("draining", f"this process is {instance.phase}", [*_RETRY, _NO_STORE])
        return Answer(200, b'{"status":"ready"}', headers=[_NO_STORE])

    @get("/metrics", include_in_schema=False)
    async def metrics(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        body = generate_latest(instance.metrics.registry)
        return Answer(200, body, media_type=CONTENT_TYPE_LATEST.encode(), headers=[_NO_STORE])

    return [health, live, ready, metrics]
