"""Doing many small things at once, or one long one, without holding the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Generic, TypeVar

__all__ = ("Parsing", "in_turns")

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


_LONG_BODY_BYTES: Final = 128 * 1024
"""To parse so much takes more than some milliseconds, for which nobody else should wait."""


class Parsing(Generic[Result]):
    """Parses bodies: short ones at once, long ones in a thread, one at a time."""

    def __init__(self, parse: Callable[[bytes], Result]) -> None:
        self._parse = parse
        self._turn = asyncio.Lock()

    async def __call__(self, body: bytes) -> Result:
        """Parse a body; what `parse` raises is raised."""
        if len(body) < _LONG_BODY_BYTES:
            return self._parse(body)
        async with self._turn:
            return await asyncio.to_thread(self._parse, body)
