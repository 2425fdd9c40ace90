"""What operators ask of a node: `client.admin`. Both kinds differ in nothing but how they send and wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from kvcore.client import _admin_calls as calls
from kvcore.client._admin_values import DeadLetter, Plugins, QueueStats, Setting
from kvcore.client._restoring import Restore, Restored, restoration
from kvcore.client._retrying import Retrying, Steps
from kvcore.errors import KvcoreError

__all__ = ("Admin", "AsyncAdmin")

T = TypeVar("T")


class Drive(Protocol):
    """Does the sending and waiting of a piece of work."""

    def __call__(self, steps: Steps[T], /) -> T:
        """Return what the work returns, or raise what it raises."""
        ...


class AsyncDrive(Protocol):
    """Does the sending and waiting of a piece of work."""

    def __call__(self, steps: Steps[T], /) -> Awaitable[T]:
        """Return what the work returns, or raise what it raises."""
        ...


class Admin:
    """What operators ask of a node: `Client.admin`. The token needs the scope admin.

    Every method asks again, and raises, as those of the client do. All of this may be sent twice, but for `lag`.
    """

    def __init__(self, retrying: Retrying, drive: Drive) -> None:
        self._retrying = retrying
        self._drive = drive

    def config(self) -> list[Setting]:
        """Return every setting in force on the node; secrets are hidden."""
        return self._drive(self._retrying.result(calls.config()))

    def plugins(self) -> Plugins:
        """Return the plugins that are installed where the node runs."""
        return self._drive(self._retrying.result(calls.plugins()))

    def clear_cache(self) -> None:
        """Clear the cache, for all nodes that share it. Reads then ask the store until it is full again."""
        self._drive(self._retrying.result(calls.cache_clearing()))

    def queue(self) -> QueueStats:
        """Return the queue in numbers.

        Raises:
            UnsupportedError: the node has no queue.
        """
        return self._drive(self._retrying.result(calls.queue()))

    def lag(self) -> float:
        """Return how many seconds a write takes now through queue and worker into the store, by a probe that changes nothing.

        Raises:
            UnavailableError: it was not back within 5 seconds.
            UnsupportedError: the node has no queue.
        """
        return self._drive(self._retrying.result(calls.lag()))

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return up to `limit` (1 to 1000) dead letters, oldest first, without their values.

        Raises:
            UnsupportedError: the queue does not keep any.
        """
        return self._drive(self._retrying.result(calls.dead_letters(limit)))

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - what it is called everywhere
        """Return a dead letter with its value, None where there is none of this id."""
        return self._drive(self._retrying.result(calls.dead_letter(id)))

    def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back on the queue, any number of them, and return how many were there.

        One that the store rejects again is a dead letter again. When an answer is lost and this is sent again, those that
        went back the first time are not counted.
        """
        return self._drive(calls.settle(self._retrying, "replay", ids))

    def discard(self, ids: Iterable[str]) -> int:
        """Forget dead letters for good, any number of them, and return how many were there: counted as by `replay`."""
        return self._drive(calls.settle(self._retrying, "discard", ids))

    def purge(self, progress: Callable[[int], object] | None = None) -> int:
        """Remove from the store what it need not remember any more of deleted and expired keys; return how many.

        It asks for one portion after the other until nothing is left. `progress` is called with how many were removed so
        far. When it fails half-way, call it again.
        """
        return self._drive(calls.purge(self._retrying, progress))

    def restore(self, entries: Iterable[Restore]) -> Sequence[Restored | KvcoreError]:
        """Write keys with the versions and expiry that they had, in one request, and return what became of each, in order.

        What the store has that is newer stays. One that fails has its error as its result, unless it may succeed later:
        then all are sent again. The limits of a request are those of a batch.

        Raises:
            RequestError: an entry cannot be sent as it is, or the node does not take the request; nothing was done.
        """
        return self._drive(self._retrying.result(restoration(entries)))


class AsyncAdmin:
    """`Admin`, with the same methods, to be awaited: `AsyncClient.admin`."""

    def __init__(self, retrying: Retrying, drive: AsyncDrive) -> None:
        self._retrying = retrying
        self._drive = drive

    async def config(self) -> list[Setting]:
        """Return every setting in force: see `Admin.config`."""
        return await self._drive(self._retrying.result(calls.config()))

    async def plugins(self) -> Plugins:
        """Return the plugins that are installed where the node runs."""
        return await self._drive(self._retrying.result(calls.plugins()))

    async def clear_cache(self) -> None:
        """Clear the cache: see `Admin.clear_cache`."""
        await self._drive(self._retrying.result(calls.cache_clearing()))

    async def queue(self) -> QueueStats:
        """Return the queue in numbers: see `Admin.queue`."""
        return await self._drive(self._retrying.result(calls.queue()))

    async def lag(self) -> float:
        """Return how many seconds a write takes to the store: see `Admin.lag`."""
        return await self._drive(self._retrying.result(calls.lag()))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, oldest first: see `Admin.dead_letters`."""
        return await self._drive(self._retrying.result(calls.dead_letters(limit)))

    async def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - what it is called everywhere
        """Return a dead letter with its value, None where there is none of this id."""
        return await self._drive(self._retrying.result(calls.dead_letter(id)))

    async def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back on the queue: see `Admin.replay`."""
        return await self._drive(calls.settle(self._retrying, "replay", ids))

    async def discard(self, ids: Iterable[str]) -> int:
        """Forget dead letters: see `Admin.discard`."""
        return await self._drive(calls.settle(self._retrying, "discard", ids))

    async def purge(self, progress: Callable[[int], object] | None = None) -> int:
        """Remove what the store need not remember: see `Admin.purge`."""
        return await self._drive(calls.purge(self._retrying, progress))

    async def restore(self, entries: Iterable[Restore]) -> Sequence[Restored | KvcoreError]:
        """Write keys with the versions and expiry that they had: see `Admin.restore`."""
        return await self._drive(self._retrying.result(restoration(entries)))
