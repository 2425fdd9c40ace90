"""What NGINX refuses, and that it says so as a node would."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvcore.http.protocol import MAX_HEAD_BYTES
from kvcore.settings import LimitSettings
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.process import wait_until
from tests.deployment.fake_node import FakeNode, hanging
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import proxied

LIMITS = LimitSettings(max_value_bytes=65_536, max_key_bytes=100, batch_bytes=200_000)
PUT_BYTES = 65_536 + 6 * 100 + 4096
GET = head(b"GET /kv/a HTTP/1.1")


@pytest.fixture(scope="module")
def node() -> Iterator[FakeNode]:
    """Give a node that takes whatever comes."""
    with FakeNode() as node:
        yield node


@pytest.fixture(scope="module")
def proxy(node: FakeNode) -> Iterator[NginxProxy]:
    """Give an NGINX before it, with limits that are not the default."""
    with proxied(node.address, limits=LIMITS) as proxy:
        yield proxy


def whole(line: bytes, size: int) -> bytes:
    """Return a request that says how large its body is."""
    return head(line, b"Content-Length: %d" % size) + b"x" * size


def chunked(line: bytes, size: int) -> bytes:
    """Return one that does not."""
    return head(line, b"Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)


@pytest.mark.parametrize("form", [whole, chunked])
@pytest.mark.parametrize(
    ("line", "limit", "problem"),
    [
        (b"PUT /kv/a HTTP/1.1", LIMITS.max_value_bytes, "value-too-large"),
        (b"PUT /kv//a%2Fb HTTP/1.1", LIMITS.max_value_bytes, "value-too-large"),
        (b"PUT /kv HTTP/1.1", PUT_BYTES, "body-too-large"),
        (b"POST /batch HTTP/1.1", LIMITS.batch_bytes, "body-too-large"),
    ],
)
def test_bodies_are_as_large_as_nodes_take_them(
    node: FakeNode, proxy: NginxProxy, form: object, line: bytes, limit: int, problem: str
) -> None:
    """What a node takes passes; one byte more gets the problem that a node would answer, and reaches none."""
    assert callable(form)
    assert exchange(proxy.port, form(line, limit)).status == 200
    assert len(node.requests[-1].body) == limit
    before = len(node.requests)
    answer = exchange(proxy.port, form(line, limit + 1))
    assert (answer.status, answer.problem) == (413, problem)
    assert b'"limit_bytes":%d' % limit in answer.body
    assert len(node.requests) == before


@pytest.mark.parametrize(
    ("request_", "status", "problem"),
    [
        (head(b"GET /kv/%s HTTP/1.1" % (b"x" * MAX_HEAD_BYTES)), 431, "header-too-large"),
        (head(b"GET /kv/a HTTP/1.1", b"X: " + b"x" * MAX_HEAD_BYTES), 431, "header-too-large"),
        (head(b"GET /kv/a HTTP/1.1", *(b"X: " + b"x" * 200_000,) * 4), 431, "header-too-large"),
        (head(b"GET /kv/%zz HTTP/1.1"), 400, "malformed-http"),
        (head(b"GET /kv/%00 HTTP/1.1"), 400, "malformed-http"),
        (head(b"GET /kv/../.. HTTP/1.1"), 400, "malformed-http"),
        (head(b"GET nowhere HTTP/1.1"), 400, "malformed-http"),
        (head(b"nonsense"), 400, "malformed-http"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "malformed-http"),
        (b"GET /kv/a HTTP/1.1\r\n\r\n", 400, "malformed-http"),
        (head(b"GET /kv/a HTTP/1.1", b"Host: another"), 400, "malformed-http"),
        (head(b"GET /kv/a HTTP/2.0"), 400, "malformed-http"),
        (head(b"PUT /kv/a HTTP/1.1", b"Content-Length: -1"), 400, "malformed-http"),
        (head(b"PUT /kv/a HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "malformed-http"),
        (head(b"PUT /kv/a HTTP/1.1", b"Transfer-Encoding: gzip"), 400, "malformed-http"),
        (head(b"PUT /kv/a HTTP/1.1", b"Transfer-Encoding: chunked") + b"zz\r\n", 400, "malformed-http"),
        (head(b"TRACE /kv/a HTTP/1.1"), 405, "method-not-allowed"),
        (head(b"CONNECT /kv/a HTTP/1.1"), 405, "method-not-allowed"),
        (head(b"GET /.kvcore/malformed-http HTTP/1.1"), 404, "no-such-resource"),
    ],
)
def test_what_is_no_request_is_a_problem(
    node: FakeNode, proxy: NginxProxy, request_: bytes, status: int, problem: str
) -> None:
    """What NGINX cannot or will not take is answered with a problem document of kvcore's, and reaches no node."""
    before = len(node.requests)
    answer = exchange(proxy.port, request_)
    assert (answer.status, answer.problem) == (status, problem)
    assert len(answer.fields["x-request-id"]) == 32
    assert len(node.requests) == before


def test_an_address_has_its_rate(node: FakeNode) -> None:
    """Who sends more than the rate and the burst is told so, with the time to wait, and the node gets nothing of it."""
    with proxied(node.address, rate_per_s=1, burst=2) as proxy:
        before = len(node.requests)
        answers = [exchange(proxy.port, GET) for _ in range(40)]
    assert [answer.status for answer in answers[:3]] == [200, 200, 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert len(node.requests) - before == len(answers) - len(refused)
    assert {(answer.problem, answer.fields["retry-after"]) for answer in refused} == {("rate-limited", "1")}


def test_a_network_of_64_bits_is_one_address(node: FakeNode) -> None:
    """All addresses of an IPv6 network of 64 bits share a rate; other networks, and IPv4 addresses, have their own."""
    with proxied(node.address, rate_per_s=1, burst=1, trusted_proxies=("127.0.0.1",)) as proxy:

        def statuses(form: bytes) -> set[int]:
            requests = (head(b"GET / HTTP/1.1", b"X-Forwarded-For: " + form % number) for number in range(1, 41))
            return {exchange(proxy.port, request).status for request in requests}

        assert statuses(b"2001:db8:0:1::%x") == {200, 429}
        assert statuses(b"2001:db8:1:%x::1") == {200}
        assert statuses(b"203.0.113.%d") == {200}


def test_an_address_has_so_many_requests_under_way() -> None:
    """One more request than an address may have under way is told that nothing was done with it."""
    with FakeNode(hanging) as node, proxied(node.address, connections=1) as proxy, ThreadPoolExecutor(1) as pool:
        first = pool.submit(exchange, proxy.port, GET)
        wait_until(lambda: bool(node.requests), within_s=20, what="the first request is under way")
        answer = exchange(proxy.port, head(b"PUT /kv/a HTTP/1.1", b"Content-Length: 0"))
        assert (answer.status, answer.problem, answer.fields["retry-after"]) == (503, "overloaded", "1")
        assert b'"outcome":"not-applied"' in answer.body
        assert len(node.requests) == 1
        proxy.stop()
        assert first.exception(20) is not None
