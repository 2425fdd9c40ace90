"""The two clients: all that differs between them is how they send and wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from copy import copy
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, overload

import httpx

from kvcore.client._admin import Admin, AsyncAdmin
from kvcore.client._batches import Batches, Operation, Result, deletion
from kvcore.client._calls import Ack, Call, Calls, Page
from kvcore.client._endpoint import Endpoint
from kvcore.client._heads import head
from kvcore.client._memory import Memory
from kvcore.client._retrying import Attempt, Retries, Retrying, Steps
from kvcore.client._values import CacheStats, Health, Listed, Value, Written
from kvcore.environment import LOCAL_URL
from kvcore.errors import KvcoreError
from kvcore.secret import Secret

__all__ = ("AsyncClient", "Client")

T = TypeVar("T")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)

MAX_WAIT_S: Final = 10.0
MAX_OPERATIONS: Final = 1000
MAX_BATCH_BYTES: Final = (8 << 20) - 1024


class Configured(Generic[Http]):
    """What both clients are made of."""

    def __init__(
        self,
        url: str,
        token: str | Secret | None,
        retries: Retries | None,
        http: Http,
        clock: Callable[[], float],
        *,
        owns_http: bool,
    ) -> None:
        self._endpoint = Endpoint(url, token)
        self._retrying = Retrying(retries or Retries(), clock)
        self._http: Http = http
        self._owns_http = owns_http
        self._calls = Calls()

    def session(self, *, max_keys: int = 10_000) -> Self:
        """Return a client that reads its own writes, and never a version older than one that it has seen.

        It remembers the newest version of the `max_keys` keys that it used last, and reads by `min_version`. Listings are
        as the store has them. It shares the connections of this client, which stays the one to be closed.
        """
        session = copy(self)
        session._calls = Calls(Memory(max_keys))  # noqa: SLF001 - of its own kind
        session._owns_http = False  # noqa: SLF001 - of its own kind
        return session

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    def _batches(self, ack: Ack | None) -> Batches:
        return Batches(self._calls, self._retrying, ack=ack, wait_s=MAX_WAIT_S)


class Client(Configured[httpx.Client]):
    """A client of a node, or of what stands before many. It may be used from several threads at once.

    `token`: of `kvctl token create`; it is shown nowhere. `http`: a client of httpx to send with, with certificates or a
    proxy of its own; who made it closes it. `sleep` and `clock` (seconds) are for tests.

    Every method asks again as `retries` says. What it raises in the end:

    * `UnavailableError`: there is no answer, or a tier does not serve. `outcome` "not-applied": nothing was done; "unknown":
      it may have been done, or may still be. Sending the same again is safe; a conditional write only under the same
      `idempotency_key`, which has to be given for that, both times: one that was made for it is not told. Else read first.
    * `RequestError`: the request can never succeed as it is.
    * `UnauthenticatedError`, `ForbiddenError`: it needs another token.
    * `RateLimitedError`, an `UnavailableError`: this token or address has sent too many requests of late.
    """

    def __init__(
        self,
        url: str = LOCAL_URL,
        *,
        token: str | Secret | None = None,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, token, retries, http or httpx.Client(), clock, owns_http=http is None)
        self._sleep = sleep

    @overload
    def get(
        self,
        key: str,
        *,
        min_version: str | None = ...,
        wait_s: float = ...,
        from_store: bool = ...,
        if_none_match: Value | None = ...,
    ) -> Value | None: ...

    @overload
    def get(
        self,
        key: str,
        *,
        min_version: str | None = ...,
        wait_s: float = ...,
        from_store: bool = ...,
        if_none_match: str,
    ) -> Value | str | None: ...

    def get(
        self,
        key: str,
        *,
        min_version: str | None = None,
        wait_s: float = MAX_WAIT_S,
        from_store: bool = False,
        if_none_match: Value | str | None = None,
    ) -> Value | str | None:
        """Return the value of a key, None where there is no such key.

        `min_version`: never answer with an older one, and wait up to `wait_s` (at most 10) for it. `from_store`: do not ask
        the cache. `if_none_match`: a value that was read before, or its version, which is returned itself, without the value
        being sent, if the key still has it.

        Raises:
            TypeError: the key is not text.
            VersionNotReachedError: `min_version` did not arrive in time.
        """
        return self._run(
            self._calls.get(
                key, min_version=min_version, wait_s=wait_s, from_store=from_store, if_none_match=if_none_match
            )
        )

    def head(
        self, key: str, *, min_version: str | None = None, wait_s: float = MAX_WAIT_S, from_store: bool = False
    ) -> Listed | None:
        """Return what a listing has of a key, without its value; None where there is no such key. For the rest see `get`."""
        return self._drive(
            head(self._calls, self._retrying, key, min_version=min_version, wait_s=wait_s, from_store=from_store)
        )

    def put(
        self,
        key: str,
        value: Any,
        *,
        media_type: str | None = None,
        ttl_s: int | None = None,
        ack: Ack | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        idempotency_key: str | bool = True,
    ) -> Written:
        """Write a value: bytes as they are, with a media type if wanted, and everything else as JSON.

        `ttl_s`: the key is missing after so many seconds. `ack`: "accepted", a durable queue has it; "stored", the store
        has it; None: what the node does by default. `if_match`: only if the key has this version ("*": any). `if_absent`:
        only if there is no such key. A conditional write can be sent again by its idempotency key, which is made for it
        unless one is given; False: none, and the outcome may stay unknown.

        Raises:
            TypeError: the key is not text, or `ttl_s` is no int.
            ConditionFailedError: the key is at another version; `version` has it.
            UnsupportedError: the store does not remember idempotency keys.
        """
        return self._run(
            self._calls.put(
                key,
                value,
                media_type=media_type,
                ttl_s=ttl_s,
                ack=ack,
                if_match=if_match,
                if_absent=if_absent,
                idempotency_key=idempotency_key,
            )
        )

    def delete(
        self, key: str, *, ack: Ack | None = None, if_match: str | None = None, idempotency_key: str | bool = True
    ) -> Written:
        """Delete a key; one that does not exist is deleted all the same. For the rest see `put`."""
        return self._run(self._calls.delete(key, ack=ack, if_match=if_match, idempotency_key=idempotency_key))

    def batch(
        self,
        operations: Iterable[Operation],
        *,
        ack: Ack | None = None,
        max_operations: int = MAX_OPERATIONS,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> list[Result]:
        """Do many operations in a few requests, and return the result of each, in their order.

        It is not atomic: an operation that fails has its error as its result, and the others go on. Those that may succeed
        later are sent again, as they would be alone. Those on one key are done one after the other. The limits are those
        of one request, as a node has them by default.

        Raises:
            RequestError: an operation cannot be sent as it is; none was.
            KvcoreError: the first request has failed as a whole. When a later one does, that is the result of its
                operations, and what follows is not sent.
        """
        return self._drive(self._batches(ack).results(operations, max_operations, max_bytes))

    def keys(self, prefix: str = "", *, values: bool = False, page_size: int = 1000) -> Iterator[Listed]:
        """Yield the keys that begin with a prefix, in the order of their bytes, as the store has them.

        Pages of up to 1,000 are asked for as they are needed. A key that exists from the first to the last of them is
        yielded once, whatever is written and deleted meanwhile.
        """
        cursor = None
        while True:
            page = self.page(prefix, values=values, limit=page_size, cursor=cursor)
            yield from page.lines
            cursor = page.cursor
            if cursor is None:
                return

    def page(self, prefix: str = "", *, values: bool = False, limit: int = 1000, cursor: str | None = None) -> Page:
        """Return some of what `keys` yields, from the cursor of the page before on, and the cursor of the next page.

        A page may be empty, and not be the last. A cursor stays good for ever, at every node.
        """
        return self._run(self._calls.page(prefix, values=values, limit=limit, cursor=cursor))

    def delete_prefix(
        self, prefix: str, *, ack: Ack | None = None, progress: Callable[[int], object] | None = None
    ) -> int:
        """Delete the keys that begin with a prefix ("": all keys), and return how many that were.

        `progress` is called with how many were deleted so far. When it fails half-way, call it again: it deletes the rest.
        """
        return self._drive(deletion(self._calls, self._retrying, prefix, ack, progress))

    def health(self) -> Health:
        """Return the health of the node, an unhealthy one's too."""
        return self._run(self._calls.health())

    def is_ready(self) -> bool:
        """Tell whether the node wants requests: it has started, and is not about to stop."""
        return self._run(self._calls.is_ready())

    def metrics(self) -> str:
        """Return the node in numbers, in Prometheus' text format."""
        return self._run(self._calls.metrics())

    def cache_stats(self) -> CacheStats:
        """Return the cache in numbers."""
        return self._run(self._calls.cache_stats())

    @property
    def admin(self) -> Admin:
        """What operators do, with a token of scope admin."""
        return Admin(self._retrying, self._drive)

    def close(self) -> None:
        """Close the connections, unless they are somebody else's."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        return self._drive(self._retrying.result(call))

    def _send(self, attempt: Attempt) -> httpx.Response:
        with self._endpoint.translating():
            request = self._http.build_request(**self._endpoint.request(attempt.call, attempt.timeout_s))
            return self._http.send(request, follow_redirects=False)

    def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._send(step) if isinstance(step, Attempt) else self._sleep(step)
                except KvcoreError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result


class AsyncClient(Configured[httpx.AsyncClient]):
    """`Client`, with the same methods, to be awaited. It may be used from several tasks of one event loop at once."""

    def __init__(
        self,
        url: str = LOCAL_URL,
        *,
        token: str | Secret | None = None,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, token, retries, http or httpx.AsyncClient(), clock, owns_http=http is None)
        self._sleep = sleep

    @overload
    async def get(
        self,
        key: str,
        *,
        min_version: str | None = ...,
        wait_s: float = ...,
        from_store: bool = ...,
        if_none_match: Value | None = ...,
    ) -> Value | None: ...

    @overload
    async def get(
        self,
        key: str,
        *,
        min_version: str | None = ...,
        wait_s: float = ...,
        from_store: bool = ...,
        if_none_match: str,
    ) -> Value | str | None: ...

    async def get(
        self,
        key: str,
        *,
        min_version: str | None = None,
        wait_s: float = MAX_WAIT_S,
        from_store: bool = False,
        if_none_match: Value | str | None = None,
    ) -> Value | str | None:
        """Return the value of a key: see `Client.get`."""
        return await self._run(
            self._calls.get(
                key, min_version=min_version, wait_s=wait_s, from_store=from_store, if_none_match=if_none_match
            )
        )

    async def head(
        self, key: str, *, min_version: str | None = None, wait_s: float = MAX_WAIT_S, from_store: bool = False
    ) -> Listed | None:
        """Return what a listing has of a key: see `Client.head`."""
        return await self._drive(
            head(self._calls, self._retrying, key, min_version=min_version, wait_s=wait_s, from_store=from_store)
        )

    async def put(
        self,
        key: str,
        value: Any,
        *,
        media_type: str | None = None,
        ttl_s: int | None = None,
        ack: Ack | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        idempotency_key: str | bool = True,
    ) -> Written:
        """Write a value: see `Client.put`."""
        return await self._run(
            self._calls.put(
                key,
                value,
                media_type=media_type,
                ttl_s=ttl_s,
                ack=ack,
                if_match=if_match,
                if_absent=if_absent,
                idempotency_key=idempotency_key,
            )
        )

    async def delete(
        self, key: str, *, ack: Ack | None = None, if_match: str | None = None, idempotency_key: str | bool = True
    ) -> Written:
        """Delete a key: see `Client.delete`."""
        return await self._run(self._calls.delete(key, ack=ack, if_match=if_match, idempotency_key=idempotency_key))

    async def batch(
        self,
        operations: Iterable[Operation],
        *,
        ack: Ack | None = None,
        max_operations: int = MAX_OPERATIONS,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> list[Result]:
        """Do many operations in a few requests: see `Client.batch`."""
        return await self._drive(self._batches(ack).results(operations, max_operations, max_bytes))

    async def keys(self, prefix: str = "", *, values: bool = False, page_size: int = 1000) -> AsyncIterator[Listed]:
        """Yield the keys that begin with a prefix: see `Client.keys`."""
        cursor = None
        while True:
            page = await self.page(prefix, values=values, limit=page_size, cursor=cursor)
            for line in page.lines:
                yield line
            cursor = page.cursor
            if cursor is None:
                return

    async def page(
        self, prefix: str = "", *, values: bool = False, limit: int = 1000, cursor: str | None = None
    ) -> Page:
        """Return some of what `keys` yields: see `Client.page`."""
        return await self._run(self._calls.page(prefix, values=values, limit=limit, cursor=cursor))

    async def delete_prefix(
        self, prefix: str, *, ack: Ack | None = None, progress: Callable[[int], object] | None = None
    ) -> int:
        """Delete the keys that begin with a prefix: see `Client.delete_prefix`."""
        return await self._drive(deletion(self._calls, self._retrying, prefix, ack, progress))

    async def health(self) -> Health:
        """Return the health of the node: see `Client.health`."""
        return await self._run(self._calls.health())

    async def is_ready(self) -> bool:
        """Tell whether the node wants requests: it has started, and is not about to stop."""
        return await self._run(self._calls.is_ready())

    async def metrics(self) -> str:
        """Return the node in numbers, in Prometheus' text format."""
        return await self._run(self._calls.metrics())

    async def cache_stats(self) -> CacheStats:
        """Return the cache in numbers."""
        return await self._run(self._calls.cache_stats())

    @property
    def admin(self) -> AsyncAdmin:
        """What operators do, with a token of scope admin."""
        return AsyncAdmin(self._retrying, self._drive)

    async def close(self) -> None:
        """Close the connections, unless they are somebody else's."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        return await self._drive(self._retrying.result(call))

    async def _send(self, attempt: Attempt) -> httpx.Response:
        with self._endpoint.translating():
            request = self._http.build_request(**self._endpoint.request(attempt.call, attempt.timeout_s))
            return await self._http.send(request, follow_redirects=False)

    async def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = await (self._send(step) if isinstance(step, Attempt) else self._sleep(step))
                except KvcoreError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
