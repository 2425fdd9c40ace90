"""`/health` and `/metrics`: what load balancers, monitoring and people ask a node or a worker."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST

from kvcore import __version__
from kvcore.http.answers import NO_STORE, Answer, json_answer
from kvcore.http.exposition import Exposition, own_exposition, sparing
from kvcore.http.forms import NoQuery
from kvcore.http.openapi import DescribedAnswer, described
from kvcore.http.problems import problem
from kvcore.http.requests import AnyRequest, read_query
from kvcore.runtime import Health, Instance

__all__ = ("health_handlers",)

_RETRY: Final = (b"retry-after", b"1")


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"]


class Ready(msgspec.Struct, frozen=True):
    """The process wants requests."""

    status: Literal["ready"]


def _example(status: str, tier: str) -> dict[str, Any]:
    store = {"status": tier, "backend": "sqlite", "breaker": "closed", "ping_ms": 0.1}
    return {
        "status": status,
        "components": {"store": store},
        "version": __version__,
        "node": "b3d0e9b2",
        "profile": "embedded",
        "limits": {"max_key_bytes": 65_536, "max_value_bytes": 1_048_576},
    }


def health_handlers(instance: Instance, exposition: Exposition | None = None) -> list[HTTPRouteHandler]:
    """Return the handlers of `/health…` and `/metrics` over a node or worker; None: it shows its own metrics."""

    @get(
        "/health",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "Healthy, or degraded: some tier is down and the others go on.",
                    _example("healthy", "up"),
                    Health,
                    headers=("Cache-Control",),
                ),
                503: DescribedAnswer(
                    "Unhealthy: nothing but what is cached can be served.",
                    _example("unhealthy", "down"),
                    Health,
                    headers=("Cache-Control",),
                ),
            },
        ),
        operation_id="getHealth",
        summary="The node and its tiers",
        tags=["operations"],
    )
    async def health(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        found = await instance.health()
        return json_answer(found, NO_STORE, status=503 if found.status == "unhealthy" else 200)

    @get(
        "/health/live",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "The process answers; no tier is asked.", {"status": "alive"}, Alive, headers=("Cache-Control",)
                )
            },
            is_open=True,
        ),
        operation_id="getLiveness",
        summary="Whether the process answers",
        tags=["operations"],
    )
    async def live(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        return json_answer(Alive("alive"), NO_STORE)

    @get(
        "/health/ready",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer("Send requests here.", {"status": "ready"}, Ready, headers=("Cache-Control",))
            },
            problems=("draining",),
            is_open=True,
        ),
        operation_id="getReadiness",
        summary="Whether to send requests here",
        tags=["operations"],
    )
    async def ready(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        if instance.phase != "ready":
            return problem("draining", f"this process is {instance.phase}", [_RETRY, NO_STORE], outcome="not-applied")
        return json_answer(Ready("ready"), NO_STORE)

    return [health, live, ready, _metrics_handler(exposition or own_exposition(instance.metrics.registry))]


def _metrics_handler(exposition: Exposition) -> HTTPRouteHandler:
    shown = sparing(exposition)

    @get(
        "/metrics",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "Prometheus' text format.",
                    'kvcore_reads_total{result="hit"} 42.0',
                    media_type="text/plain",
                    headers=("Cache-Control",),
                )
            },
        ),
        operation_id="getMetrics",
        summary="The node in numbers",
        tags=["operations"],
    )
    async def metrics(request: AnyRequest) -> ASGIApp:
        read_query(request.scope["query_string"], NoQuery)
        return Answer(200, await shown(), media_type=CONTENT_TYPE_LATEST.encode(), headers=[NO_STORE])

    return metrics
