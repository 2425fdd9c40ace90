"""What of a request reaches a node, and what of an answer reaches the client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import httpx
import pytest

from kvcore.testing.nodes import running_node
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.ports import HOST
from tests.deployment.fake_node import FakeNode, saying
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import proxied

WHOLE_KEY = bytes(range(1, 128)) * 516 + b"0123"
"""64 KiB, as UTF-8 of the characters that take the most room in a path; without NUL, which no key has."""


@pytest.fixture(scope="module")
def node() -> Iterator[FakeNode]:
    """Give a node that keeps what reaches it."""
    with FakeNode() as node:
        yield node


@pytest.fixture(scope="module")
def proxy(node: FakeNode) -> Iterator[NginxProxy]:
    """Give an NGINX before it."""
    with proxied(node.address) as proxy:
        yield proxy


TARGETS = (
    b"/kv?key=a%2Fb&min_version=019ab3f2c4d80000a1b2c3d4",
    b"/kv?key=%00",
    b"/kv/a",
    b"/kv/a/",
    b"/kv//a//b",
    b"/kv/a%2Fb%2f%2F",
    b"/kv/%61%3f%23%25",
    b"/kv/a/./b/../c",
    b"/kv/a%2F..%2Fb",
    b"/kv/+&=;:@!$'()*,~",
    b'/kv/"<>\\^`{|}',
    b"/kv/%C3%A9%F0%9F%98%80%FF",
    b"/kv/a?ttl=60",
    b"/kv/a?",
    b"/kv/a??b",
    b"/keys?prefix=a/&cursor=3dnEB2f5YS8z",
    b"/",
    b"/docs/openapi.json",
)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_node_gets_the_target_as_it_was_sent(node: FakeNode, proxy: NginxProxy, method: bytes, target: bytes) -> None:
    """No way through NGINX, those for writes and for reads that wait included, changes a byte of path and query."""
    line = b"%s %s HTTP/1.1" % (method, target)
    assert exchange(proxy.port, head(line, b"Content-Length: 0")).status == 200
    assert node.requests[-1].line == line


def test_the_longest_key_fits(node: FakeNode, proxy: NginxProxy) -> None:
    """A key of 64 KiB with every byte percent-encoded passes, for reads and for writes."""
    target = b"/kv/" + b"".join(b"%%%02X" % byte for byte in WHOLE_KEY)
    assert len(target) == len("/kv/") + 3 * 65_536
    for method in (b"GET", b"PUT", b"DELETE"):
        line = b"%s %s HTTP/1.1" % (method, target)
        assert (
            exchange(proxy.port, head(line, b"Content-Length: 0", b"Authorization: Bearer " + b"x" * 8000)).status
            == 200
        )
        assert node.requests[-1].line == line


def test_a_node_is_told_who_asks(node: FakeNode, proxy: NginxProxy) -> None:
    """Address and id of a request are NGINX's to say, whatever the client says."""
    exchange(proxy.port, head(b"GET / HTTP/1.1", b"X-Forwarded-For: 203.0.113.7", b"X-Request-Id: mine"))
    request = node.requests[-1]
    assert request.field("x-forwarded-for") == HOST
    assert len(request.field("x-request-id") or "") == 32
    assert request.field("host") == "kv.example.com"


def test_what_belongs_to_a_connection_is_not_passed_on(node: FakeNode, proxy: NginxProxy) -> None:
    """Fields between client and NGINX stay there; those for the node pass."""
    hop = [b"Connection: upgrade", b"Upgrade: websocket", b"TE: trailers", b"Keep-Alive: 5", b"Proxy-Connection: close"]
    exchange(proxy.port, head(b"GET / HTTP/1.1", *hop, b"Authorization: Bearer x", b'If-None-Match: "1"'))
    request = node.requests[-1]
    for field in hop:
        assert request.field(field.partition(b":")[0].decode().lower()) is None
    assert (request.field("authorization"), request.field("if-none-match")) == ("Bearer x", '"1"')


def test_connections_to_nodes_are_kept(node: FakeNode, proxy: NginxProxy) -> None:
    """Requests share connections to a node: as many as there are workers are enough for one client after another."""
    before = node.connections
    for _ in range(50):
        exchange(proxy.port, head(b"GET / HTTP/1.1"))
    assert node.connections - before <= 2


def test_a_node_that_takes_leave_is_understood() -> None:
    """An answer with `Connection: close` is the last one on its connection, and no request is lost by that."""
    with FakeNode(saying(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")) as node:
        with proxied(node.address) as proxy:
            for _ in range(20):
                answer = exchange(proxy.port, head(b"PUT /kv/a HTTP/1.1", b"Content-Length: 0"))
                assert (answer.status, answer.fields["connection"]) == (200, "keep-alive")
        assert node.connections == 20


@pytest.mark.parametrize("status", [400, 404, 412, 413, 429, 500, 502, 503, 504])
def test_answers_of_nodes_pass_as_they_are(status: int) -> None:
    """An error that a node answers, also one that NGINX knows answers to, reaches the client unchanged, and is not repeated."""
    raw = b'HTTP/1.1 %d X\r\nretry-after: 7\r\netag: "1"\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello'
    with FakeNode(saying(raw % status)) as node, proxied(node.address, "127.0.0.1:9") as proxy:
        for method in (b"GET", b"PUT"):
            for _ in range(2):  # one of them is the node's at first
                answer = exchange(proxy.port, head(b"%s /kv/a HTTP/1.1" % method, b"Content-Length: 0"))
                assert (answer.status, answer.body) == (status, b"hello")
                assert (answer.fields["etag"], answer.fields["retry-after"]) == ('"1"', "7")
        assert len(node.requests) == 4


def test_values_come_back_as_they_were() -> None:
    """Through a real node: keys and values of 64 KiB, values of 1 MiB, batches of nearly 8 MiB, strong ETags and conditions."""
    with running_node({"profile": "memory"}) as real, proxied(real.url.removeprefix("http://")) as proxy:
        with httpx.Client(base_url=proxy.url, timeout=60, trust_env=False) as client:
            for size in (0, 65_536, 1 << 20):
                value = os.urandom(size)
                written = client.put("/kv/a//b%2Fc", content=value)
                read = client.get("/kv/a//b%2Fc", headers={"accept-encoding": "gzip"})
                assert (written.status_code, read.content) == (200, value)
                assert read.headers["etag"] == written.headers["etag"]
                assert client.delete("/kv/a//b%2Fc", headers={"if-match": read.headers["etag"]}).status_code == 200
            operations = [{"op": "put", "key": f"k{number}", "value": "v" * 8300} for number in range(1000)]
            results = client.post("/batch", json={"operations": operations}).json()["data"]
            assert {result["status"] for result in results} == {200}
        path = quote_from_bytes(WHOLE_KEY).encode()
        value = os.urandom(65_536)
        put = (
            head(b"PUT /kv/%s HTTP/1.1" % path, b"Content-Length: 65536").replace(b"kv.example.com", b"localhost")
            + value
        )
        assert exchange(proxy.port, put).status == 200
        get = head(b"GET /kv/%s HTTP/1.1" % path).replace(b"kv.example.com", b"localhost")
        assert exchange(proxy.port, get).body == value
