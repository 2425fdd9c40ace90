"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

__all__ = ("cancel_midway", "eventually", "for_all")

T = TypeVar("T")


async def eventually(probe: Callable[[], Awaitable[T]], *, within_s: float = 10.0, what: str = "the condition") -> T:
    """Await `probe` again and again until it returns something true, and return that.

    Raises:
        AssertionError: it did not within `within_s` seconds; the message has `what`, and what the last probe returned.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + within_s
    while not (found := await probe()):
        if loop.time() > ends_s:
            raise AssertionError(f"{what} did not come true within {within_s:g} s; the last probe returned {found!r}")
        await asyncio.sleep(0.005)
    return found


async def cancel_midway(calls: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Start all calls at once and cancel each after another number of turns of the event loop."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    for turn, task in enumerate(tasks):
        task.cancel()
        if turn % 3 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)


async def for_all(strategy: SearchStrategy[T], check: Callable[[T], Awaitable[None]], *, examples: int) -> None:
    """Await `check` with examples that Hypothesis draws; a failure is the smallest one found.

    Hypothesis is synchronous, and a backend belongs to the event loop in which it was opened. So Hypothesis runs in a
    thread, and each check in the caller's loop.
    """
    loop = asyncio.get_running_loop()

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(strategy)
    def drawn(example: T) -> None:
        asyncio.run_coroutine_threadsafe(_awaited(check, example), loop).result()

    await asyncio.to_thread(drawn)


async def _awaited(check: Callable[[T], Awaitable[None]], example: T) -> None:
    await check(example)
