"""Doing many small things at once without holding the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

__all__ = ("in_turns",)

Result = TypeVar("Result")

_AT_ONCE: Final = 100
"""So many begin in one turn of the loop, some milliseconds. What they ask of a batcher is joined all the same."""


async def in_turns(doing: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run coroutines concurrently, and return their results in order; none of them may raise."""
    tasks: list[asyncio.Task[Result]] = []
    for coroutine in doing:
        tasks.append(asyncio.create_task(coroutine))
        if len(tasks) % _AT_ONCE == 0:
            await asyncio.sleep(0)  # others have their turn in between
    return [await task for task in tasks]
