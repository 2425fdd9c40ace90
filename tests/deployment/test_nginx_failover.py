"""What NGINX does with requests whose node is dead, dies or hangs: what is safe is repeated, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kvcore.settings import LimitSettings
from kvcore.testing.nodes import running_node
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import wait_until
from tests.deployment.fake_node import (
    FakeNode,
    dying,
    dying_within_the_body,
    dying_within_the_head,
    hanging,
    talking_nonsense,
)
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import proxied

READS = ("GET", "HEAD", "OPTIONS")
WRITES = ("PUT", "DELETE")
IMPATIENT = LimitSettings(read_deadline_s=0.1, write_deadline_s=0.1)


def nowhere() -> str:
    """Return the address of a node that is not there."""
    return f"{HOST}:{free_port()}"


def ask(url: str, method: str, path: str = "/kv/a", **more: Any) -> httpx.Response:
    """Send one request, on a connection of its own."""
    return httpx.request(method, f"{url}{path}", timeout=60, trust_env=False, **more)


def assert_unavailable(answer: httpx.Response, outcome: str) -> None:
    """Check that nothing has answered, and what is told of what became of the request."""
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.request.method != "HEAD":
        problem = answer.json()
        assert (problem["type"], problem["status"], problem["outcome"]) == ("/problems/unavailable", 503, outcome)


@pytest.mark.parametrize("method", [*READS, *WRITES, "POST"])
def test_what_a_dead_node_was_never_sent_goes_to_the_next(method: str) -> None:
    """Whatever the method, a request whose node refuses the connection is answered by another node, once."""
    with FakeNode() as node, proxied(nowhere(), nowhere(), node.address) as proxy:
        for _ in range(6):
            assert ask(proxy.url, method).status_code == 200
        assert len(node.requests) == 6


@pytest.mark.parametrize("size", [0, 1, 65_536, 1 << 20])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "chunked"])
def test_a_body_reaches_the_next_node_unharmed(size: int, is_chunked: bool) -> None:
    """A PUT that is sent to another node has its body, its conditions and its path as they were."""
    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    content = iter([body[:1000], body[1000:]]) if is_chunked else body
    fields = {"if-match": '"019ab3f2c4d80000a1b2c3d4"', "idempotency-key": "once", "content-type": "image/png"}
    with FakeNode() as node, proxied(nowhere(), nowhere(), node.address) as proxy:
        answer = ask(proxy.url, "PUT", "/kv/a//b%2F..%2e?ttl=60", content=content, headers=fields)
    assert answer.text == "done"
    (request,) = node.requests
    assert request.line == b"PUT /kv/a//b%2F..%2e?ttl=60 HTTP/1.1"
    assert request.body == body
    assert fields.items() <= {name: request.field(name) for name in fields}.items()


@pytest.mark.parametrize("method", [*WRITES, "POST"])
@pytest.mark.parametrize("behaviour", [dying, dying_within_the_head, talking_nonsense])
def test_a_write_that_was_sent_is_never_repeated(method: str, behaviour: Callable[[Any], None]) -> None:
    """A node that takes a write and dies, or talks nonsense, leaves it unknown: 503 says so, and no other node gets it."""
    with FakeNode(behaviour) as one, FakeNode(behaviour) as other, proxied(one.address, other.address) as proxy:
        assert_unavailable(ask(proxy.url, method, content=b"x" * 1000), "unknown")
        assert len(one.requests) + len(other.requests) == 1


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("behaviour", [dying, dying_within_the_head, talking_nonsense])
def test_a_read_is_repeated(method: str, behaviour: Callable[[Any], None]) -> None:
    """A node that takes a read and dies, or talks nonsense, costs the client nothing: another one answers."""
    with FakeNode(behaviour) as one, FakeNode(behaviour) as other, FakeNode() as good:
        with proxied(one.address, other.address, good.address) as proxy:
            for _ in range(3):
                assert ask(proxy.url, method).status_code == 200
        assert len(good.requests) == 3
        assert one.requests or other.requests


@pytest.mark.parametrize("method", [*READS, *WRITES, "POST"])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_without_any_node_nothing_has_happened(method: str, count: int) -> None:
    """With all nodes dead, few or many, every method gets 503, not applied."""
    with proxied(*(nowhere() for _ in range(count))) as proxy:
        for _ in range(2):
            assert_unavailable(ask(proxy.url, method), "not-applied")


def test_a_read_that_no_node_survives_has_changed_nothing() -> None:
    """A read that was sent to every node, and killed each, is answered 503, not applied."""
    with FakeNode(dying) as one, FakeNode(dying) as other, proxied(one.address, other.address) as proxy:
        assert_unavailable(ask(proxy.url, "GET"), "not-applied")
        assert len(one.requests) == len(other.requests) == 1


def test_a_write_that_dies_at_its_second_node_is_unknown() -> None:
    """A PUT whose first node is dead, and whose second dies with it in hand, is unknown, and no third node gets it."""
    with FakeNode(dying) as one, FakeNode(dying) as other:
        with proxied(nowhere(), nowhere(), one.address, other.address) as proxy:
            assert_unavailable(ask(proxy.url, "PUT"), "unknown")
        assert len(one.requests) + len(other.requests) == 1


def test_a_node_that_hangs_is_not_waited_for_for_ever() -> None:
    """A read goes on to another node when one does not answer; a write is told to be unknown, and was sent once."""
    with FakeNode(hanging) as one, FakeNode(hanging) as other, FakeNode() as good:
        with proxied(one.address, limits=IMPATIENT) as proxy:
            assert_unavailable(ask(proxy.url, "PUT"), "unknown")
        assert len(one.requests) == 1
        with proxied(other.address, good.address, limits=IMPATIENT) as proxy:
            assert all(ask(proxy.url, "GET").status_code == 200 for _ in range(2))
        assert len(other.requests) == 1


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_answer_that_has_begun_is_not_begun_again(method: str) -> None:
    """A node that ends within the body of its answer leaves the client with half an answer, known as such, and is asked once."""
    with FakeNode(dying_within_the_body) as node, proxied(node.address) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            ask(proxy.url, method)
        assert len(node.requests) == 1


def test_who_may_wait_is_waited_for() -> None:
    """Reads that wait for a version, however they spell it, and the administration have longer than a node that just hangs."""
    targets = (
        b"/kv?key=a&wait=10000",
        b"/kv/a?w%61it=10000",
        b"/kv/a?%77ait=10000&min_version=1",
        b"/kv?key=a#&wait=10000",
        b"/kv/a#?wait=10000",
        b"/admin/queue/lag",
    )
    with (
        FakeNode(hanging) as node,
        proxied(node.address, limits=IMPATIENT) as proxy,
        ThreadPoolExecutor(len(targets)) as pool,
    ):
        patient = [pool.submit(exchange, proxy.port, head(b"GET %s HTTP/1.1" % target)) for target in targets]
        wait_until(lambda: len(node.requests) == len(targets), within_s=20, what="all are under way")
        assert_unavailable(ask(proxy.url, "GET", "/kv?key=wait&min_version=1"), "not-applied")
        node.let_go.set()
        assert [answer.result(20).status for answer in patient] == [200] * len(targets)


@pytest.mark.parametrize("target", [b"/kv/\xff", b"/kv/../batch"])
def test_a_node_that_refuses_a_body_goes_on_being_asked(target: bytes) -> None:
    """What only a node knows to refuse, it refuses in the midst of a body without breaking the connection: none is taken for dead."""
    with running_node({"profile": "memory"}) as node, proxied(node.url.removeprefix("http://")) as proxy:
        for _ in range(5):
            request = head(b"PUT %s HTTP/1.1" % target, b"Content-Length: 8000000").replace(
                b"kv.example.com", b"localhost"
            )
            assert exchange(proxy.port, request + bytes(8_000_000)).status in {400, 413}
