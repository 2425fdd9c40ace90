"""What a client can do to a connection, byte for byte, and what it must not reach by that."""

from __future__ import annotations

import json
import re
import socket
from typing import Never

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess


def exchange(node: NodeProcess, *parts: bytes) -> bytes:
    """Send bytes on one connection, and return all that comes back until the node closes it."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def value_of(node: NodeProcess, key: str) -> object:
    """Return a key's value, None where it does not exist."""
    answer = httpx.get(f"{node.url}/kv", params={"key": key})
    return answer.json()["data"]["value"] if answer.status_code == 200 else None


@pytest.fixture
def victim(embedded: NodeProcess, request: pytest.FixtureRequest) -> str:
    """Give a key that exists and that nothing here may change."""
    key = f"victim-{request.node.name}"
    httpx.put(f"{embedded.url}/kv", json={"data": {"key": key, "value": 1}}).raise_for_status()
    return key


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_body_behind_an_upgrade_is_not_the_next_request(embedded: NodeProcess, victim: str, protocol: bytes) -> None:
    """A request that asks for an upgrade and has a body is refused; the body is not run as a request."""
    inner = b"DELETE /kv?key=%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % victim.encode()
    head = b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n"
    assert statuses(exchange(embedded, head % (protocol, len(inner)) + inner)) == [400]
    assert value_of(embedded, victim) == 1


def test_a_read_that_offers_an_upgrade_is_answered_and_ends_the_connection(embedded: NodeProcess, victim: str) -> None:
    """A client that offers another protocol gets its answer in this one; nothing behind the request is looked at."""
    sent = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    behind = b"DELETE /kv?key=%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % victim.encode()
    assert statuses(exchange(embedded, sent + behind)) == [200]
    assert value_of(embedded, victim) == 1


def test_trailers_are_not_header_fields(embedded: NodeProcess, victim: str) -> None:
    """A field behind a chunked body is ignored: it cannot make a write conditional."""
    body = json.dumps({"data": {"key": victim + " new", "value": 2}}).encode()
    head = b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%s\r\n0\r\nIf-Match: *\r\n\r\n" % (len(body), body)
    assert statuses(exchange(embedded, head + chunks)) == [200]
    assert value_of(embedded, victim + " new") == 2


def send_without_end(connection: socket.socket) -> Never:
    """Send until the other side has had enough."""
    while True:
        connection.sendall(b"x" * (1 << 20))


def test_endless_trailers_end_the_connection(embedded: NodeProcess) -> None:
    """Fields behind a chunked body are bounded like a head."""
    sent = b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with socket.create_connection(("127.0.0.1", embedded.port), timeout=30) as connection:
        connection.sendall(sent)
        connection.sendall(b"X: ")
        with pytest.raises(ConnectionError):  # within a second or so: it is closed in good order
            send_without_end(connection)


def test_answers_come_in_the_order_of_the_requests(embedded: NodeProcess) -> None:
    """Requests sent without waiting for answers are answered in order."""
    one = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    missing = one.replace(b"/health/live", b"/nothing")
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert statuses(exchange(embedded, one + missing + last)) == [200, 404, 200]


def test_requests_without_end_are_answered_in_part(embedded: NodeProcess) -> None:
    """Of thousands of requests that are sent at once a hundred or so are kept; the last answer says that it is the last."""
    one = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = exchange(embedded, one * 4000)
    assert 100 <= len(statuses(answers)) <= 102
    assert answers.lower().count(b"connection: close") == 1
    assert b"connection: close" in answers.lower()[answers.rindex(b"HTTP/1.1 ") :]


def test_what_is_no_http_behind_requests_does_not_cost_them_their_answers(embedded: NodeProcess) -> None:
    """Requests sent together with something else behind them are answered; then the connection ends."""
    one = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(exchange(embedded, one + one + b"nonsense\r\n\r\n")) == [200, 200]


def test_a_request_that_was_answered_is_not_answered_again(embedded: NodeProcess) -> None:
    """A body that turns out to be broken after its request was refused ends the connection, without another answer."""
    head = b"PUT /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", embedded.port), timeout=30) as connection:
        connection.sendall(head)
        first = connection.recv(65_536)
        connection.sendall(b"zz\r\n")
        rest = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert statuses(first + rest) == [404]


def test_a_list_of_etags_costs_no_more_than_its_length(embedded: NodeProcess, victim: str) -> None:
    """The longest header that is let in is looked through at once, whatever it holds."""
    fillings = {b" ": 400, b'"': 400, b'W/"': 400, b",": 400, b'" ': 400, b'"x",': 200, b'""': 200}
    for filling, status in fillings.items():
        header = filling * (200_000 // len(filling)) + (b"a" if status == 400 else b"")
        sent = b"GET /kv?key=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: %s\r\n\r\n"
        assert statuses(exchange(embedded, sent % (victim.encode(), header))) == [status]


def test_a_client_that_goes_away_leaves_nothing_in_the_log(embedded: NodeProcess) -> None:
    """Clients that send several requests and close before the answers cost no line of log each."""
    before = len(embedded.lines)
    slow = b"GET /kv?key=x&min_version=%s&wait=50 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    version = httpx.put(f"{embedded.url}/kv", json={"data": {"key": "y", "value": 1}}).json()["data"]["version"]
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", embedded.port), timeout=30) as connection:
            connection.sendall(slow % version.encode() * 3)
    while "kvcore_http_requests_in_progress 1.0" not in httpx.get(f"{embedded.url}/metrics").text:
        pass
    assert embedded.lines[before:] == []


def test_a_refused_request_that_would_have_continued_ends_the_connection(embedded: NodeProcess, victim: str) -> None:
    """After another answer than 100 nobody can tell a body that still comes from a request: nothing more is read."""
    head = b"PUT /kv?x=1 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n"
    behind = b"DELETE /kv?key=%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % victim.encode()
    with socket.create_connection(("127.0.0.1", embedded.port), timeout=30) as connection:
        connection.sendall(head)
        assert statuses(b"".join(iter(lambda: connection.recv(65_536), b""))) == [400]
    assert 400 in statuses(exchange(embedded, head + behind))
    assert value_of(embedded, victim) == 1
