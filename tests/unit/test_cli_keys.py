"""The commands of kvctl that ask a node, against a server that answers as the test says and keeps what it was asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.cli._client import version_of

VERSION = "0198f3a7c2d10000a1b2c3d4"
STORED = b'{"data":{"key":"k","version":"%s"},"detail":"stored"}' % VERSION.encode()
HEALTH: dict[str, Any] = {
    "status": "healthy",
    "components": {"store": {"status": "up", "backend": "sqlite", "breaker": "closed", "ping_ms": 0.1}},
    "version": "0.1.0",
    "node": "a1b2c3d4",
    "profile": "embedded",
    "limits": {"max_key_bytes": 65536, "max_value_bytes": 1048576},
}


class FakeNode(ThreadingHTTPServer):
    """Answers every request with `answer`, and keeps the last request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, str, bytes] = (200, "application/json", STORED)
        self.method = ""
        self.path = ""
        self.query: dict[str, list[str]] = {}
        self.sent_headers: dict[str, str] = {}
        self.body: Any = None

    def fail(self, status: int, problem: str, **members: str) -> None:
        """Answer with a problem document from now on."""
        document = {"type": f"/problems/{problem}", "title": problem, "status": status, **members}
        self.answer = (status, "application/problem+json", json.dumps(document).encode())


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
        node.body = self.rfile.read(length) if length else None
        status, media_type, body = node.answer
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{VERSION}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library calls it by
        """Say nothing."""


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """Give a server that kvctl takes for its node."""
    with FakeNode() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("KVCORE_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def kvctl(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run kvctl in this process."""
    return CliRunner().invoke(app, arguments, input=stdin)


def value_of(value: bytes) -> tuple[int, str, bytes]:
    """Return a node's answer to a read."""
    return 200, "application/json", b'{"data":{"value":%s}}' % value


def test_get_prints_text_as_it_is_and_anything_else_as_json(node: FakeNode) -> None:
    """A string is printed without quotes, for the shell; another value exactly as the node sent it."""
    for value, shown in ((b'"a \\u00e9"', "a é"), (b'{"n": 1.10}', '{"n": 1.10}'), (b"null", "null"), (b'""', "")):
        node.answer = value_of(value)
        assert kvctl("get", "k").stdout == f"{shown}\n"


def test_get_as_json_gives_key_value_and_version(node: FakeNode) -> None:
    """With --json the value stands beside the key and the version, and no number loses a digit."""
    node.answer = value_of(b"123456789012345678901234567890.10")
    result = kvctl("get", "a key/ü&", "--json")
    assert result.stdout == f'{{"key":"a key/ü&","value":123456789012345678901234567890.10,"version":"{VERSION}"}}\n'
    assert (node.method, node.path, node.query) == ("GET", "/kv", {"key": ["a key/ü&"]})


def test_get_asks_for_the_version_that_the_reader_must_see(node: FakeNode) -> None:
    """--min-version is passed on."""
    node.answer = value_of(b"1")
    kvctl("get", "k", "--min-version", VERSION)
    assert node.query["min_version"] == [VERSION]


def test_a_missing_key_has_an_exit_code_of_its_own(node: FakeNode) -> None:
    """Exit code 3, nothing on stdout: a script can tell "not there" from "failed"."""
    node.fail(404, "key-not-found", detail="the key does not exist")
    result = kvctl("get", "k")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "does not exist" in result.stderr


def test_a_path_that_is_not_there_is_not_a_missing_key(node: FakeNode) -> None:
    """A 404 of another kind, from a wrong --url, is a failure."""
    node.fail(404, "no-such-resource", detail="there is nothing at this path")
    result = kvctl("get", "k")
    assert (result.exit_code, result.stderr) == (1, "kvctl: there is nothing at this path\n")


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["hello"], "hello"),
        (["42"], "42"),
        (['{"a": 1}'], '{"a": 1}'),
        (["42.10", "--json-value"], 42.10),
        (['{"a": [1, null]}', "--json-value"], {"a": [1, None]}),
        (["--", "-5"], "-5"),
    ],
)
def test_put_stores_text_unless_it_is_told_that_the_value_is_json(
    node: FakeNode, arguments: list[str], value: object
) -> None:
    """Text is never guessed to be something else; --json-value takes it as JSON."""
    assert kvctl("put", "k", *arguments).exit_code == 0
    assert json.loads(node.body) == {"data": {"key": "k", "value": value}}
    if "--json-value" in arguments:
        assert arguments[0].encode() in node.body  # as it was written: no number loses a digit


def test_put_reads_the_value_from_stdin_to_the_last_byte(node: FakeNode) -> None:
    """`-` takes what comes on stdin as it is, a last newline included."""
    assert kvctl("put", "k", "-", stdin="zwölf\n".encode()).exit_code == 0
    assert json.loads(node.body)["data"]["value"] == "zwölf\n"


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["{", "--json-value"], None),
        (["-", "--json-value"], b"[" * 200_000 + b"]" * 200_000),
        (["-"], b"\xff"),
        (["v", "--ttl", "0"], None),
    ],
)
def test_put_refuses_a_value_that_cannot_be_sent(node: FakeNode, arguments: list[str], stdin: bytes | None) -> None:
    """What is no JSON, no UTF-8 or no lifetime is wrong usage, and the node is not asked."""
    result = kvctl("put", "k", *arguments, stdin=stdin)
    assert (result.exit_code, node.method) == (2, "")


def test_put_passes_lifetime_acknowledgement_and_conditions_on(node: FakeNode) -> None:
    """--ttl, --ack, --if-match and --if-none-match become what the API has for them."""
    kvctl("put", "k", "v", "--ttl", "60", "--ack", "stored", "--if-match", VERSION)
    assert json.loads(node.body)["data"]["ttl"] == 60
    assert node.query == {"ack": ["stored"]}
    assert node.sent_headers["if-match"] == f'"{VERSION}"'
    assert "if-none-match" not in node.sent_headers
    kvctl("put", "k", "v", "--if-match", "*")
    assert node.sent_headers["if-match"] == "*"
    kvctl("put", "k", "v", "--if-none-match")
    assert node.sent_headers["if-none-match"] == "*"


def test_writes_tell_what_became_of_them(node: FakeNode) -> None:
    """Both put and delete print the detail and the version, or the same as JSON."""
    assert kvctl("put", "k", "v").stdout == f"stored {VERSION}\n"
    assert json.loads(kvctl("delete", "k", "--json").stdout) == {"key": "k", "version": VERSION, "detail": "stored"}
    assert (node.method, node.query) == ("DELETE", {"key": ["k"]})


def test_a_problem_is_shown_as_its_detail(node: FakeNode) -> None:
    """What the node says is wrong is what the user reads; of a failed write also whether it may have happened."""
    node.fail(412, "condition-failed", detail="the key has another version")
    assert kvctl("put", "k", "v").stderr == "kvctl: the key has another version\n"
    node.fail(503, "unavailable", detail="the store does not answer", outcome="unknown")
    result = kvctl("put", "k", "v")
    assert (result.exit_code, result.stderr) == (1, "kvctl: the store does not answer (outcome: unknown)\n")


@pytest.mark.parametrize(
    "answer", [(502, "text/html", b"<html>"), (200, "text/html", b"<html>"), (404, "text/plain", b"")]
)
def test_an_answer_of_something_else_is_not_taken_for_a_node(node: FakeNode, answer: tuple[int, str, bytes]) -> None:
    """Whatever else listens at the URL is named as such, without a traceback, and is never "key not found"."""
    node.answer = answer
    for arguments in (["get", "k"], ["put", "k", "v"], ["delete", "k"], ["health"]):
        result = kvctl(*arguments)
        assert result.exit_code == 1
        assert "is it a node?" in result.stderr


def test_health_is_printed_and_decides_the_exit_code(node: FakeNode) -> None:
    """A degraded node is no failure, an unhealthy one is; the document is printed in both cases."""
    for status, code, exit_code in (("healthy", 200, 0), ("degraded", 200, 0), ("unhealthy", 503, 1)):
        node.answer = (code, "application/json", json.dumps(HEALTH | {"status": status}).encode())
        result = kvctl("health", "--json")
        assert (json.loads(result.stdout)["status"], result.exit_code) == (status, exit_code)
        assert "sqlite" in kvctl("health").stdout


def test_a_node_that_is_not_there_is_one_clear_line() -> None:
    """A refused connection says what to do: start a node, or name another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        result = kvctl("get", "k", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "kvctl serve" in result.stderr
    assert "--url" in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://127.0.0.1:notaport", "http://[::"])
def test_a_url_that_is_none_is_one_clear_line(url: str) -> None:
    """A wrong --url is named."""
    result = kvctl("get", "k", "--url", url)
    assert result.exit_code == 1
    assert url in result.stderr


def test_a_key_that_is_not_text_is_wrong_usage(node: FakeNode) -> None:
    """Bytes from the shell that are no UTF-8 are refused before a node is asked."""
    result = kvctl("get", "\udcff")
    assert (result.exit_code, node.method) == (2, "")


def test_an_answer_without_a_version_has_none() -> None:
    """A missing ETag is None, not an empty version."""
    assert version_of(httpx.Response(200)) is None
