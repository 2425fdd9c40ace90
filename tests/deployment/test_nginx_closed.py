"""What is not for everybody, in every spelling."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvcore.testing.nodes import NodeProcess, running_node
from kvcore.testing.servers import NginxProxy
from tests.deployment.fake_node import FakeNode
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import proxied

CLOSED = (
    b"/admin",
    b"/admin/",
    b"/admin?x",
    b"/admin#x",
    b"/admin/config",
    b"/Admin/config",
    b"/metrics",
    b"/metrics/",
    b"/metrics;x",
    b"//admin/config",
    b"///metrics",
    b"/./admin/config",
    b"/.//admin/config",
    b"/x/../admin/config",
    b"/kv/../admin/config",
    b"/kv/..%2fadmin/config",
    b"/kv/%2e%2e/admin/config",
    b"/%61dmin/config",
    b"/adm%69n/config",
    b"/%6detrics",
    b"/%2fadmin/config",
    b"/%2Fmetrics",
    b"/%2e/admin/config",
    b"/admin/../kv/a",
    b"/admin/../docs",
    b"/%61dmin/../docs",
    b"/%61dmin/../nginx/../docs",
    b"/%61dmin/../.kvcore/malformed-http",
    b"/.kvcore/malformed-http/../../%61dmin/config",
    b"http://kv.example.com/admin/config",
    b"http://kv.example.com//admin/config",
    b"http://kv.example.com/%61dmin/config",
    b"http://127.0.0.1/metrics",
)
OPEN = (
    b"/kv/admin",
    b"/kv/admin/config",
    b"/kv//admin",
    b"/kv/%61dmin",
    b"/kv?key=/admin",
    b"/keys?prefix=%2Fadmin",
    b"/",
    b"/docs",
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeNode]:
    """Give a node that keeps what reaches it."""
    with FakeNode() as fake:
        yield fake


@pytest.fixture(scope="module")
def outside(fake: FakeNode) -> Iterator[NginxProxy]:
    """Give an NGINX for which everybody, this machine included, is outside."""
    with proxied(fake.address, internal=()) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """Give a real node."""
    with running_node({"profile": "memory", "http.hosts": '["kv.example.com"]'}) as node:
        yield node


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
@pytest.mark.parametrize("target", CLOSED)
def test_the_administration_and_metrics_are_closed(
    fake: FakeNode, outside: NginxProxy, method: bytes, target: bytes
) -> None:
    """From outside nothing below /admin and /metrics reaches a node, however the path is written and whatever the method."""
    before = len(fake.requests)
    answer = exchange(outside.port, head(b"%s %s HTTP/1.1" % (method, target), b"Content-Length: 0"))
    assert answer.status == 404
    assert method == b"HEAD" or answer.problem == "no-such-resource"
    assert len(fake.requests) == before


@pytest.mark.parametrize("target", OPEN)
def test_keys_of_that_name_are_open(fake: FakeNode, outside: NginxProxy, target: bytes) -> None:
    """A key may be called as the administration is."""
    assert exchange(outside.port, head(b"GET %s HTTP/1.1" % target)).status == 200
    assert fake.requests[-1].line == b"GET %s HTTP/1.1" % target


def test_internal_networks_see_them(node: NodeProcess) -> None:
    """The networks that are named internal, this machine unless said otherwise, reach the administration and the metrics."""
    with proxied(node.url.removeprefix("http://")) as proxy:
        for target in (b"/admin/config", b"/admin/queue/lag", b"/metrics"):
            assert exchange(proxy.port, head(b"GET %s HTTP/1.1" % target)).status == 200


def test_behind_a_load_balancer_it_is_the_client_that_counts(fake: FakeNode) -> None:
    """With a trusted proxy in front, internal is who that says asks, and nobody by saying so himself."""
    with proxied(fake.address, internal=("10.1.0.0/16",), trusted_proxies=("127.0.0.1",)) as proxy:

        def asked_by(address: bytes) -> int:
            return exchange(proxy.port, head(b"GET /admin/config HTTP/1.1", b"X-Forwarded-For: " + address)).status

        assert asked_by(b"10.1.2.3") == 200
        assert fake.requests[-1].field("x-forwarded-for") == "10.1.2.3"
        assert asked_by(b"203.0.113.7") == 404
        assert asked_by(b"10.1.2.3, 203.0.113.7") == 404
    with proxied(fake.address, internal=("10.1.0.0/16",)) as proxy:
        assert asked_by(b"10.1.2.3") == 404
