"""What is counted of requests and connections."""

from __future__ import annotations

from typing import Literal, get_args

from kvcore.metrics.families import Families

__all__ = ("HttpMetrics", "Limit")

Limit = Literal[
    "address-rate",
    "token-rate",
    "concurrent-requests",
    "waiting-readers",
    "connections",
    "buffered-bytes",
    "head-size",
    "pipelined-requests",
    "head-timeout",
    "body-timeout",
    "send-timeout",
]
"""What requests are refused and connections are cut off by, besides the sizes that an answer of their own tells of."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class HttpMetrics:
    """Of requests and connections, and what was refused."""

    def __init__(self, families: Families) -> None:
        self.requests = families.histogram(
            "kvcore_http_request_duration_seconds",
            "How long requests took, from the head to the end of the answer: the latency that clients see, less the network.",
            _SECONDS,
            operation="the operationId of [the API](api.md), or `none`: there is no such one, or it was refused before that was known",
            status="the status of the answer, such as `200`",
        )
        self.in_progress = families.gauge(
            "kvcore_http_requests_in_progress",
            "Requests that are being served. Beyond limits.concurrent_requests they are refused.",
        ).labels()
        self.connections = families.gauge(
            "kvcore_http_connections", "Connections that are open. Beyond limits.connections they are closed."
        ).labels()
        self.buffered = families.gauge(
            "kvcore_http_buffered_bytes",
            "Bytes of bodies that are being received, and of answers that clients have not taken yet. Beyond"
            " limits.buffered_bytes connections are cut off.",
        ).labels()
        self._limited = families.counter(
            "kvcore_http_limited_total",
            "Requests refused and connections cut off, by limit: who asks for too much, or what is set too low. See"
            " docs/limits.md.",
            limit=get_args(Limit),
        ).from_zero()
        self.batch_operations = families.counter(
            "kvcore_batch_operations_total",
            "Operations of batches by their results: a batch as a whole is answered 200, whatever became of them.",
            operation=("get", "put", "delete"),
            status="the status of the result, such as `200`",
        )

    def limited(self, limit: Limit) -> None:
        """Count a request that was refused, or a connection that was cut off."""
        self._limited.labels(limit).inc()
