"""Connections of two kinds of clients: one for each request, and one for as many requests as the server lets it have.

Both name conditional writes, as `kvcore.client` does: else a write that RabbitMQ delivers a second time can only be answered "unknown".
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from tests.faults.connection import Answer, Exchange, NoAnswerError, read_answer, wire

__all__ = ("Connections", "Fresh", "Kept")

_LIMIT_S: Final = 15.0

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Fresh(Exchange):
    """A client that connects anew for each request, and repeats nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.requests = 0

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        self.requests += 1
        sent = False
        try:
            async with asyncio.timeout(_LIMIT_S):
                reader, writer = await _connected(self._url)
                sent = True
                try:
                    writer.write(wire(method, target, {**_named(headers), "Connection": "close"}, body))
                    return await read_answer(reader)
                finally:
                    writer.transport.abort()
        except (OSError, EOFError, TimeoutError) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}", sent=sent) from error

    def close(self) -> None:
        """Nothing is open."""


class Kept(Exchange):
    """A client that keeps its connection until it is told `Connection: close`.

    A server may close a connection that waits for a request at any time, also when one is on its way. So a request on a connection
    that was used before, and that ends before the first byte of an answer, is sent once more on a new one, as RFC 9112, section
    9.3.1, has it for what is idempotent; `repeated` counts these.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._streams: _Streams | None = None
        self.requests = 0
        self.repeated = 0

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        self.requests += 1
        message = wire(method, target, _named(headers), body)
        try:
            async with asyncio.timeout(_LIMIT_S):
                if self._streams is None or not await self._begins(message):
                    await self._connect(message)
                return await self._answer()
        except (OSError, EOFError, TimeoutError) as error:
            sent = self._streams is not None
            self.close()
            raise NoAnswerError(f"{type(error).__name__}: {error}", sent=sent) from error

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _begins(self, message: bytes) -> bool:
        """Send on the connection that is open, and tell whether an answer begins; else it is closed."""
        assert self._streams is not None
        reader, writer = self._streams
        try:
            writer.write(message)
            await reader.readexactly(1)
        except (ConnectionError, EOFError):
            self.close()
            self.repeated += 1
            return False
        return True

    async def _connect(self, message: bytes) -> None:
        self._streams = await _connected(self._url)
        self._streams[1].write(message)

    async def _answer(self) -> Answer:
        assert self._streams is not None
        answer = await read_answer(self._streams[0])
        if answer.headers.get("connection") == "close":
            self.close()
        return answer


class Connections:
    """Makes connections, every other one of each kind, and keeps them to be counted."""

    def __init__(self) -> None:
        self.fresh: list[Fresh] = []
        self.kept: list[Kept] = []

    @property
    def counted(self) -> str:
        """How many requests of each kind there were."""
        fresh, kept = (sum(one.requests for one in kind) for kind in (self.fresh, self.kept))
        repeated = sum(one.repeated for one in self.kept)
        return f"{fresh:,} requests on new connections, {kept:,} on kept ones, {repeated} of which were sent again"

    def __call__(self, urls: list[str]) -> Exchange:
        """Return a connection to the first of these."""
        if len(self.fresh) > len(self.kept):
            self.kept.append(Kept(urls[0]))
            return self.kept[-1]
        self.fresh.append(Fresh(urls[0]))
        return self.fresh[-1]


def _named(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of a request, with an idempotency key of its own if it has a condition."""
    headers = dict(headers or {})
    if headers.keys() & {"If-Match", "If-None-Match"}:
        headers["Idempotency-Key"] = secrets.token_hex(16)
    return headers


async def _connected(url: str) -> _Streams:
    place = urlsplit(url)
    return await asyncio.open_connection(place.hostname, place.port)
