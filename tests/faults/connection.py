"""One HTTP/1.1 connection of one client, which sends a request when the last one is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

__all__ = ("Answer", "Connection", "Exchange", "NoAnswerError", "read_answer", "wire")

_LIMIT_S: Final = 15.0


class Answer(NamedTuple):
    """`headers` by lowercase name; `version` is the ETag without quotes, "" where there is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def version(self) -> str:
        return self.headers.get("etag", "").strip('"')

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class NoAnswerError(Exception):
    """There was no answer; `sent` tells whether the server may have got the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Exchange(Protocol):
    """How a client gets its requests answered, one after the other."""

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return its answer.

        Raises:
            NoAnswerError: there is none.
        """

    def close(self) -> None:
        """Close what is open, without waiting for anything."""


class Connection(Exchange):
    """A connection to one of several nodes: the next one whenever the current one is lost."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return its answer.

        Raises:
            NoAnswerError: the node cannot be reached, closed the connection, or did not answer within 15 s.
        """
        sent = False
        try:
            async with asyncio.timeout(_LIMIT_S):
                reader, writer = await self._open()
                sent = True
                writer.write(wire(method, target, headers or {}, body))
                return await read_answer(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            self._urls = [*self._urls[1:], self._urls[0]]
            raise NoAnswerError(f"{type(error).__name__}: {error}", sent=sent) from error

    def close(self) -> None:
        """Close it, without waiting for anything."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            url = urlsplit(self._urls[0])
            self._streams = await asyncio.open_connection(url.hostname, url.port)
        return self._streams


def wire(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a request as it is sent."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read an answer; its first byte, which says nothing, may have been read before."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split()[1]), headers, body)
