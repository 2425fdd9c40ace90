"""The thread that waits for the disk, so that the event loop does not, and what it takes to hand work to it and back.

A thread that has waited for the disk must get the interpreter's lock back to say so. A busy event loop gives it up many
times in each turn, but for some microseconds only: too short for another core to wake up, and long enough to start the
five milliseconds anew after which it could insist. Measured on a loop that was never idle: 150 ms until a commit of
half a millisecond was known, and seconds at worst. So the loop gives way on purpose. It waits for the work itself for a
moment, which is all that a commit takes on most disks; while the work takes longer, it goes on, and stands back a
little from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

__all__ = ("DiskThread",)

_AT_ONCE_S: Final = 0.001
_EVERY_S: Final = 0.001
_STAND_BACK_S: Final = 0.0001

T = TypeVar("T")


class DiskThread:
    """Runs one piece of work at a time for one event loop."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kvcore-sqlite")
        self._under_way: asyncio.Future[Any] | None = None

    async def turn(self) -> None:
        """Return when no work is under way. The turn is the caller's until it awaits anything but `run`."""
        while self._under_way is not None and not self._under_way.done():
            await asyncio.wait((self._under_way,))

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, after what may be under way. It goes on to its end even if the caller is cancelled."""
        running = self._executor.submit(work)
        wait((running,), _AT_ONCE_S)
        if running.done():
            return running.result()
        under_way = self._under_way = asyncio.wrap_future(running)
        self._give_way(running)
        return await asyncio.shield(under_way)

    def shutdown(self) -> None:
        """Take no more work; end the thread after what it has."""
        self._executor.shutdown(wait=False)

    def _give_way(self, running: Future[Any]) -> None:
        if not running.done():
            wait((running,), _STAND_BACK_S)
            asyncio.get_running_loop().call_later(_EVERY_S, self._give_way, running)
