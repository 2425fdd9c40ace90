"""Asking running nodes and workers, each of which may be away: an error is what was found there, and ends nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

import msgspec

from kvcore.cli._running.samples import Samples
from kvcore.client import AsyncClient, Health, Retries
from kvcore.errors import KvcoreError, RequestError, UnavailableError

__all__ = ("Observation", "found", "metrics_of", "observed", "once")

T = TypeVar("T")

_WHOLE_S: Final = 10.0
"""An answer that is not complete by then is none: what comes in drops, or without an end, must not keep the others waiting."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A node or worker at one moment (`at_s`, of a clock that never jumps), or why it could not be asked."""

    at_s: float
    health: Health | KvcoreError
    metrics: Samples | KvcoreError


def once(patience_s: float) -> Retries:
    """Return how a client asks that shall tell what is so now: once, for so many seconds."""
    return Retries(tries=1, try_timeout_s=patience_s, deadline_s=patience_s)


async def observed(client: AsyncClient) -> Observation:
    """Ask a node for its health and metrics."""
    health = await found(client.health())
    metrics = await metrics_of(client)
    return Observation(at_s=time.monotonic(), health=health, metrics=metrics)


async def metrics_of(client: AsyncClient) -> Samples | KvcoreError:
    """Ask a node for its metrics."""
    text = await found(client.metrics())
    try:
        return Samples(text) if isinstance(text, str) else text
    except ValueError as error:
        return RequestError(f"what it shows at /metrics is not Prometheus' text format: {error}")


async def found(answer: Awaitable[T]) -> T | KvcoreError:
    """Return an answer, or the error that came instead."""
    try:
        async with asyncio.timeout(_WHOLE_S):
            return await answer
    except TimeoutError:
        return UnavailableError(f"its answer was not complete after {_WHOLE_S:g} s")
    except KvcoreError as error:
        return error
