"""The limits of a node, met over a socket: who sends too much, too often, too slowly or without end."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess, running_node

HEAD = b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
SLOW = {
    "http.head_timeout_s": "1",
    "http.body_timeout_s": "1",
    "http.send_timeout_s": "1",
    "http.keep_alive_s": "1",
    "http.min_bytes_per_s": "1000000",
    "limits.max_value_bytes": str(64 << 20),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Give a node that waits a second for everything."""
    with running_node({"store.sqlite.path": str(tmp_path_factory.mktemp("strict") / "kvcore.db"), **SLOW}) as node:
        yield node


def node_with(folder: Path, **settings: object) -> NodeProcess:
    """Start a node with settings, given with "__" for the dot."""
    return NodeProcess(
        {"store.sqlite.path": str(folder / "kvcore.db")}
        | {name.replace("__", "."): str(value) for name, value in settings.items()}
    )


def connected(node: NodeProcess) -> socket.socket:
    """Return a connection of our own."""
    return socket.create_connection(("127.0.0.1", node.port), timeout=30)


def rest_of(connection: socket.socket) -> bytes:
    """Return all that comes until the node closes the connection."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def problem_in(received: bytes) -> tuple[int, str]:
    """Return status and problem type of the only answer."""
    assert received.count(b"HTTP/1.1 ") == 1
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["type"]


def limited(node: NodeProcess, limit: str) -> float:
    """Return how often a limit was met."""
    metrics = httpx.get(f"{node.url}/metrics").text
    found = re.search(rf'^kvcore_http_limited_total{{limit="{limit}"}} (.+)$', metrics, re.MULTILINE)
    assert found
    return float(found[1])


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        (b"G", "head-timeout"),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: ", "head-timeout"),
        (HEAD % 100 + b"{", "body-timeout"),
        (HEAD % 100, "body-timeout"),
        (b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "body-timeout"),
    ],
)
def test_a_request_that_does_not_come_is_answered_408(strict: NodeProcess, sent: bytes, limit: str) -> None:
    """A head or a body that stops coming ends the connection, with a problem that says so, and is counted."""
    before = limited(strict, limit)
    with connected(strict) as connection:
        connection.sendall(sent)
        assert problem_in(rest_of(connection)) == (408, "/problems/request-timeout")
    assert limited(strict, limit) == before + 1


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_connection_without_a_request_is_closed(strict: NodeProcess, sent: bytes) -> None:
    """A connection that nobody uses, before the first request or after the last, is closed without a word."""
    with connected(strict) as connection:
        connection.sendall(sent)
        received = rest_of(connection)
    assert received.count(b"HTTP/1.1 ") == sent.count(b"GET")


def test_a_client_that_does_not_take_its_answer_is_cut_off(strict: NodeProcess) -> None:
    """An answer that stays in the node's memory since nobody reads it goes, and its connection with it."""
    size = 32 << 20
    body = b'{"data":{"key":"large","value":"%s"}}' % (b"v" * size)
    httpx.put(f"{strict.url}/kv", content=body, timeout=30).raise_for_status()
    before = limited(strict, "send-timeout")
    with connected(strict) as connection:
        connection.sendall(b"GET /kv?key=large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while limited(strict, "send-timeout") == before:
            pass
        received = 0
        with suppress(ConnectionError):  # the system may tell an end from a reset or not
            while chunk := connection.recv(1 << 20):
                received += len(chunk)
    assert received < size
    assert "kvcore_http_buffered_bytes 0.0" in httpx.get(f"{strict.url}/metrics").text


# --- at once ----------------------------------------------------------------------------------------------------------


def test_more_connections_than_allowed_are_refused(tmp_path: Path) -> None:
    """A connection beyond the limit is answered 503 with Retry-After, and closed; one that ends makes room."""
    node = node_with(tmp_path, limits__connections=3)
    try:
        with connected(node) as one, connected(node) as two, connected(node) as three:
            for connection in (one, two, three):
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
            for _ in range(3):
                with pytest.raises(httpx.HTTPStatusError) as refused:
                    httpx.get(f"{node.url}/health/live").raise_for_status()
                answer = refused.value.response
                assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
                assert answer.json()["outcome"] == "not-applied"
                assert answer.headers["retry-after"] == "1"
        while httpx.get(f"{node.url}/health/live").status_code != 200:
            pass
        assert limited(node, "connections") >= 3
    finally:
        node.kill()


def test_more_requests_at_once_than_allowed_are_refused(tmp_path: Path) -> None:
    """While as many requests are served as may be, others are answered 503, and load balancers as ever."""
    node = node_with(tmp_path, limits__concurrent_requests=3)
    try:
        httpx.put(f"{node.url}/kv", json={"data": {"key": "a", "value": 1}}).raise_for_status()
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(connected(node)).sendall(HEAD % 10)
            while (refused := httpx.get(f"{node.url}/kv?key=a")).status_code == 200:
                pass
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
            assert refused.headers["retry-after"]
            assert httpx.get(f"{node.url}/health/live").status_code == 200
            assert httpx.get(f"{node.url}/health/ready").status_code == 200
        while httpx.get(f"{node.url}/kv?key=a").status_code != 200:
            pass
        assert limited(node, "concurrent-requests") >= 1
    finally:
        node.kill()


def test_stalled_uploads_take_a_bounded_part_of_the_memory(tmp_path: Path) -> None:
    """However many large bodies are begun and not ended, the node holds a bounded part of them, and serves others."""
    node = node_with(tmp_path, limits__buffered_bytes=8 << 20)
    part = HEAD % (1 << 20) + b'{"data":{"key":"a","value":"' + b"v" * 1_000_000
    try:
        with ExitStack() as stack:
            refused = 0
            for _ in range(50):
                connection = stack.enter_context(connected(node))
                try:
                    connection.sendall(part)
                except ConnectionError:
                    refused += 1  # while it was still sending
            while limited(node, "buffered-bytes") < 40:
                pass
            held = re.search(r"^kvcore_http_buffered_bytes (.+)$", httpx.get(f"{node.url}/metrics").text, re.MULTILINE)
            assert held
            assert float(held[1]) <= 8 << 20
            assert httpx.put(f"{node.url}/kv", json={"data": {"key": "b", "value": 1}}).status_code == 200
    finally:
        node.kill()


def test_one_large_body_alone_is_always_taken(tmp_path: Path) -> None:
    """A bound that is less than one body does not make that body impossible."""
    node = node_with(tmp_path, limits__buffered_bytes=1)
    try:
        document = {"data": {"key": "a", "value": "v" * 1_000_000}}
        assert httpx.put(f"{node.url}/kv", json=document).status_code == 200
    finally:
        node.kill()


# --- rates ------------------------------------------------------------------------------------------------------------


def test_a_rate_is_counted_for_the_client_behind_a_trusted_proxy(tmp_path: Path) -> None:
    """An address beyond its rate gets 429 and how long to wait; what is added to the field by the client changes nothing."""
    node = node_with(
        tmp_path, limits__address_rate_per_s=0.01, limits__address_burst=5, http__trusted_proxies='["127.0.0.1"]'
    )
    try:

        def ask(forwarded: str) -> httpx.Response:
            return httpx.get(f"{node.url}/kv?key=a", headers={"X-Forwarded-For": forwarded})

        assert [ask(f"10.0.0.{number}, 192.0.2.1").status_code for number in range(5)] == [404] * 5
        refused = ask("10.0.0.9, 192.0.2.1")
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/rate-limited")
        assert refused.json()["outcome"] == "not-applied"
        assert 60 <= int(refused.headers["retry-after"]) <= 100
        assert ask("192.0.2.2").status_code == 404
        assert httpx.get(f"{node.url}/health/live", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
        assert limited(node, "address-rate") == 1
    finally:
        node.kill()
