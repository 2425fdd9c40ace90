"""A client that sends what a test says, byte for byte, which no HTTP library would."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse
from typing import Any, NamedTuple

from kvcore.testing.servers.ports import HOST

__all__ = ("Answer", "exchange", "head")


class Answer(NamedTuple):
    """An answer: its status, its header fields (names in lower case) and its body."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The type of the problem document that this is."""
        assert self.fields["content-type"] == "application/problem+json", (self.status, self.body)
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return str(document["type"]).removeprefix("/problems/")


def head(line: bytes, *fields: bytes) -> bytes:
    """Return the head of a request."""
    return b"\r\n".join((line, b"Host: kv.example.com", *fields, b"", b""))


def exchange(port: int, request: bytes) -> Answer:
    """Send a request, and return the answer."""
    with socket.create_connection((HOST, port), timeout=30) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection, method=request.partition(b" ")[0].decode("latin-1"))
        answer.begin()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
