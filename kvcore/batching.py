"""Joining concurrent calls into bulk calls.

While as many bulk calls are under way as allowed, new items wait in a list; when one returns, the next takes all that
wait, up to a limit. A call that could start still waits as long as each turn of the event loop brings more items: what
a busy loop is about to ask comes along. There is no timer: an idle system adds a turn of the loop, some microseconds,
and a busy one makes large batches by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from kvcore.errors import OverloadedError
from kvcore.tracing import ORIGIN, Origin, joined

__all__ = ("Batcher",)

_WOKEN_AT_ONCE: Final = 100
"""Of those who wait for one bulk call: each goes on for some microseconds, and others shall have their turns in between."""

Item = TypeVar("Item")  # hashable, where equal ones are joined
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    """One item of a coming bulk call, and those who wait for its result."""

    __slots__ = ("futures", "item", "origins", "weight")

    def __init__(self, item: Item, weight: int) -> None:
        self.item = item
        self.weight = weight
        self.futures: list[asyncio.Future[Result]] = []
        self.origins: list[Origin] = []


class Batcher(Generic[Item, Result]):
    """Turns `call`, which takes many items, into a function of one item that joins what is asked at the same time.

    * Results and items correspond by position.
    * With `joined`, equal items (they must be hashable) that wait together are asked once. An item is never joined to a
      call that is under way already: what that one answers may have been read before this item was asked for.
    * Who stops waiting (is cancelled) never cancels a bulk call. An item that nobody waits for any more when its turn
      comes is not asked.
    * Items are taken in the order in which they came. `weigh` gives an item's bytes; a call takes at most
      `batch_bytes`, or one item.
    * An exception of a bulk call goes to everyone who waits for it, each getting a copy of their own.
    * A bulk call runs in a context of its own: with `traced`, `ORIGIN` there names the requests that it is made for.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        name: str,
        in_flight: int,
        batch: int,
        waiting: int,
        batch_bytes: int = 0,
        waiting_bytes: float = math.inf,
        weigh: Callable[[Item], int] | None = None,
        joined: bool = False,
        observe: Callable[[int], None] | None = None,
        traced: bool = False,
    ) -> None:
        self._call = call
        self._name = name
        self._in_flight = in_flight
        self._batch = batch
        self._bound = waiting
        self._bound_bytes = waiting_bytes
        self._batch_bytes = batch_bytes
        self._weigh = weigh
        self._index: dict[Hashable, _Waiting[Item, Result]] | None = {} if joined else None
        self._observe = observe
        self._traced = traced
        self._context = contextvars.Context()
        self._waiting: list[_Waiting[Item, Result]] = []
        self._count = 0
        self._bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._arranged = False

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        """Ask for one item's result: a future of the caller's own.

        Raises:
            OverloadedError: too many are waiting; this item was not asked and never will be.
        """
        if self._count >= self._bound or self._bytes >= self._bound_bytes:
            raise OverloadedError(f"too many requests wait for {self._name}: try again")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item, Result] | None = None
        if self._index is not None:
            waiting = self._index.get(item)
        if waiting is None:
            waiting = _Waiting(item, self._weigh(item) if self._weigh is not None else 0)
            self._waiting.append(waiting)
            self._bytes += waiting.weight
            if self._index is not None:
                self._index[item] = waiting
        future: asyncio.Future[Result] = loop.create_future()
        waiting.futures.append(future)
        if self._traced:
            waiting.origins.append(ORIGIN.get())
        self._count += 1
        self._arrange()
        return future

    async def aclose(self) -> None:
        """Wait until all that was asked has been answered."""
        while self._running or self._waiting:
            await asyncio.wait(self._running) if self._running else await asyncio.sleep(0)

    def _arrange(self) -> None:
        """See to it that what waits is asked as soon as it may be."""
        if self._waiting and not self._arranged and len(self._running) < self._in_flight:
            self._arranged = True
            asyncio.get_running_loop().call_soon(self._start, 0, context=self._context)

    def _start(self, before: int) -> None:
        """Begin bulk calls, unless more items have come since the turn of the loop in which `before` were waiting."""
        waiting = len(self._waiting)
        if before < waiting < self._batch and self._bytes <= self._batch_bytes:
            asyncio.get_running_loop().call_soon(self._start, waiting, context=self._context)
            return
        self._arranged = False
        while self._waiting and len(self._running) < self._in_flight:
            taken = self._take()
            if taken:
                task = asyncio.get_running_loop().create_task(self._run(taken))
                self._running.add(task)
                task.add_done_callback(self._ended, context=self._context)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._arrange()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """Remove the items of the next bulk call from those that wait; those that nobody wants any more are dropped."""
        taken: list[_Waiting[Item, Result]] = []
        weight = seen = 0
        for waiting in self._waiting:
            if all(future.done() for future in waiting.futures):
                seen += 1
                self._forget(waiting)
                continue
            weight += waiting.weight
            if len(taken) == self._batch or (taken and weight > self._batch_bytes):
                break
            seen += 1
            self._forget(waiting)
            taken.append(waiting)
        del self._waiting[:seen]
        return taken

    def _forget(self, waiting: _Waiting[Item, Result]) -> None:
        self._count -= len(waiting.futures)
        self._bytes -= waiting.weight
        if self._index is not None:
            del self._index[waiting.item]

    async def _run(self, taken: list[_Waiting[Item, Result]]) -> None:
        if self._observe is not None:
            self._observe(len(taken))
        if self._traced:
            ORIGIN.set(joined(origin for waiting in taken for origin in waiting.origins))
        try:
            results = await self._call([waiting.item for waiting in taken])
            if len(results) != len(taken):
                raise RuntimeError(f"{self._name} answered {len(results)} results for {len(taken)} items")
            for count, (waiting, result) in enumerate(zip(taken, results, strict=True), 1):
                for future in waiting.futures:
                    if not future.done():
                        future.set_result(result)
                if count % _WOKEN_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others have their turn in between
        except BaseException as error:  # passed on below, when whoever waits has been told
            self._fail(taken, error)
            if not isinstance(error, Exception):
                raise

    @staticmethod
    def _fail(taken: list[_Waiting[Item, Any]], error: BaseException) -> None:
        for waiting in taken:
            for future in waiting.futures:
                if future.done():
                    continue
                if isinstance(error, Exception):
                    future.set_exception(_copied(error))
                else:
                    future.cancel()


def _copied(error: Exception) -> Exception:
    """Return a copy where there can be one: one object raised in many tasks would collect all their tracebacks."""
    try:
        return copy.copy(error)
    except Exception:  # noqa: BLE001 - a stranger's constructor; nobody may be left waiting for its sake
        return error
