"""A server that kvctl takes for its node: it answers as the test says, and keeps what it was asked."""

from __future__ import annotations

import json
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typer.testing import CliRunner, Result

from kvcore.cli._app import app

__all__ = ("STORED", "VERSION", "Answer", "FakeNode", "json_answer", "kvctl", "problem_document")

VERSION = "0198f3a7c2d10000a1b2c3d4"
STORED = b'{"data":{"key":"k","version":"%s"},"detail":"stored"}' % VERSION.encode()

Answer = tuple[int, str, bytes]


def problem_document(status: int, problem: str, **members: str) -> dict[str, Any]:
    """Return a problem document."""
    return {"type": f"/problems/{problem}", "title": problem, "status": status, **members}


def json_answer(document: object) -> Answer:
    """Return an answer in JSON."""
    return 200, "application/json", json.dumps(document).encode()


class FakeNode(ThreadingHTTPServer):
    """Answers with `answers` one after the other, the last one for ever, and keeps the last request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: deque[Answer] = deque([(200, "application/json", STORED)])
        self.requests = 0
        self.method = ""
        self.path = ""
        self.query: dict[str, list[str]] = {}
        self.sent_headers: dict[str, str] = {}
        self.body = b""

    def says(self, *answers: Answer) -> None:
        """Answer with these from now on."""
        self.answers = deque(answers)

    def fail(self, status: int, problem: str, **members: str) -> None:
        """Answer with a problem document from now on."""
        self.says(
            (status, "application/problem+json", json.dumps(problem_document(status, problem, **members)).encode())
        )


class Handler(BaseHTTPRequestHandler):
    """Hands the request over to the `FakeNode`."""

    def handle_one_request(self) -> None:
        """Keep the request, and answer as the node says."""
        node = self.server
        assert isinstance(node, FakeNode)
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        split = urlsplit(self.path)
        node.method, node.path, node.query = self.command, split.path, parse_qs(split.query, keep_blank_values=True)
        node.sent_headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(self.headers.get("content-length", 0))
        node.body = self.rfile.read(length) if length else b""
        node.requests += 1
        status, media_type, body = node.answers[0] if len(node.answers) == 1 else node.answers.popleft()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{VERSION}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library calls it by
        """Say nothing."""


def kvctl(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run kvctl in this process."""
    return CliRunner().invoke(app, arguments, input=stdin)
