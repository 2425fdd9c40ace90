"""A fast HTTP/1.1 client for load, over many keep-alive connections.

Each connection sends its next request when the last is answered: 64 connections are 64 clients that wait.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar, cast
from urllib.parse import quote

import httptools

__all__ = ("HOST", "Answer", "Answered", "Request", "drive", "get_bytes", "put_all", "put_bytes")

HOST: Final = "127.0.0.1"
_LIMIT_S: Final = 600

Tag = TypeVar("Tag")


class Request(NamedTuple, Generic[Tag]):
    """`wire` is the whole request as it is sent; `tag` is the caller's own, to know the answer by."""

    wire: bytes
    tag: Tag


class Answer(NamedTuple):
    """`version` is the ETag without its quotes, or "" where there is none; `seconds` from sending to the last byte."""

    status: int
    version: str
    body: bytes
    seconds: float


Answered = Callable[[Tag, Answer], None]


def get_bytes(key: str, *, path: str = "/kv") -> bytes:
    """Return a GET of one key."""
    return f"GET {path}?key={quote(key, safe='')} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def put_bytes(key: str, value: object, *, path: str = "/kv") -> bytes:
    """Return a PUT of one key; `value` is anything that JSON can hold."""
    body = json.dumps({"data": {"key": key, "value": value}}).encode()
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def drive(
    port: int, requests: Iterator[Request[Tag]], answered: Answered[Tag], *, connections: int
) -> list[Request[Tag]]:
    """Send all requests over so many connections, and call `answered` for each answer.

    Returns what was sent and not answered: nothing, unless the server closed connections. Where it closed all of them,
    what was not sent is left in `requests`.

    Raises:
        OSError: the server cannot be connected to.
    """
    loop = asyncio.get_running_loop()
    opened: list[_Connection[Tag]] = []
    try:
        for _ in range(connections):
            _, connection = await loop.create_connection(lambda: _Connection(requests, answered), HOST, port)
            opened.append(connection)
        for connection in opened:
            connection.send_next()
        unanswered = await asyncio.gather(*(connection.ended for connection in opened))
    finally:
        for connection in opened:
            connection.abort()
    return [request for request in unanswered if request is not None]


async def put_all(port: int, records: Iterable[tuple[str, object]]) -> None:
    """Write keys and values, as fast as 64 connections can.

    Raises:
        RuntimeError: a write was answered neither 200 nor 202.
        TimeoutError: all of them together take longer than 10 minutes.
    """

    def answered(_: None, answer: Answer) -> None:
        if answer.status not in (200, 202):
            raise RuntimeError(f"a PUT was answered {answer.status}: {answer.body!r}")

    requests = (Request(put_bytes(key, value), None) for key, value in records)
    async with asyncio.timeout(_LIMIT_S):
        unanswered = await drive(port, requests, answered, connections=64)
    if unanswered or next(requests, None) is not None:
        raise RuntimeError("the server closed connections")


class _Connection(asyncio.Protocol, Generic[Tag]):
    _transport: asyncio.Transport

    def __init__(self, requests: Iterator[Request[Tag]], answered: Answered[Tag]) -> None:
        self.ended: asyncio.Future[Request[Tag] | None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._answered = answered
        self._parser = httptools.HttpResponseParser(self)
        self._sent: Request[Tag] | None = None
        self._began = 0.0
        self._version = ""
        self._body = b""

    def send_next(self) -> None:
        self._sent = None if self._transport.is_closing() else next(self._requests, None)
        if self._sent is None:
            self._transport.close()
        else:
            self._began = time.perf_counter()
            self._transport.write(self._sent.wire)

    def abort(self) -> None:
        self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.done():
            return
        if exc is None or isinstance(exc, OSError):
            self.ended.set_result(self._sent)
        else:  # `answered` raised, or the answer is not HTTP
            self.ended.set_exception(exc)

    # --- called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"etag":
            self._version = value.strip(b'"').decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._sent is not None
        seconds = time.perf_counter() - self._began
        answer = Answer(self._parser.get_status_code(), self._version, self._body, seconds)
        self._version, self._body = "", b""
        self._answered(self._sent.tag, answer)
        self.send_next()
