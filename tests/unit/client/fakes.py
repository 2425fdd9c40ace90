"""A node that answers as the test says, a clock that only sleeping moves, and both clients behind one face."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from kvcore.client import AsyncAdmin, AsyncClient

VERSION = "0198f3a7c2d10000a1b2c3d4"

Reply = httpx.Response | Exception


def problem(status: int, name: str, headers: dict[str, str] | None = None, **members: object) -> httpx.Response:
    """Return a problem document."""
    document = {"type": f"/problems/{name}", "title": name, "status": status, "detail": f"{name}!", **members}
    return httpx.Response(
        status, headers={"content-type": "application/problem+json", **(headers or {})}, content=json.dumps(document)
    )


def written(version: str = VERSION, *, status: int = 200, key: str = "k") -> httpx.Response:
    """Return the answer to a write."""
    detail = "queued" if status == 202 else "stored"
    return httpx.Response(
        status, headers={"etag": f'"{version}"'}, json={"data": {"key": key, "version": version}, "detail": detail}
    )


def value(data: bytes = b'"v"', version: str = VERSION, media_type: str = "application/json") -> httpx.Response:
    """Return the answer to a read."""
    return httpx.Response(200, headers={"etag": f'"{version}"', "content-type": media_type}, content=data)


def each(*calls: Callable[[], Any]) -> tuple[Callable[[], Any], ...]:
    """Return some calls, with their type."""
    return calls


class FakeNode:
    """Gives one reply after the other, the last one for ever, and keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        if self.answer is not None:
            return self.answer(request)
        reply = self.replies[0] if len(self.replies) == 1 else self.replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)  # one serves once

    def says(self, *replies: Reply) -> None:
        """Set what is answered from now on."""
        self.replies = deque(replies)

    @property
    def last(self) -> httpx.Request:
        """The last request."""
        return self.requests[-1]


class FakeClock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def async_sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.sleep(seconds)


class Blocking:
    """An `AsyncClient` with the methods of a `Client`, or what is its `admin`."""

    def __init__(self, client: AsyncClient | AsyncAdmin, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    @property
    def admin(self) -> Blocking:
        """What operators do."""
        assert isinstance(self._client, AsyncClient)
        return Blocking(self._client.admin, self._runner)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            result = getattr(self._client, name)(*arguments, **options)
            if isinstance(result, AsyncClient):
                return Blocking(result, self._runner)
            if inspect.isasyncgen(result):
                return self._each(result)
            return self._runner.run(result)

        return call

    def _each(self, generator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.run(anext(generator))
            except StopAsyncIteration:
                return
