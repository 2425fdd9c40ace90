"""What operators do with NGINX: read its log, put up the maintenance page, reload it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.nginx.configuration import render
from kvcore.testing.servers import ServerError
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import wait_until
from tests.deployment.fake_node import FakeNode, hanging
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import lines, proxied, proxy_on

BROWSER = b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_every_line_of_the_log_is_json_without_keys() -> None:
    """Whatever is sent, each request is one line of JSON that names neither keys nor what a client has made up."""
    targets = (
        b"/kv/secret",
        b"/kv?key=secret",
        b"/%ff%fe?secret",
        b"/kv/%22secret%22%0a",
        b'/kv/"secret"',
        b"/kv/\xff\xfesecret",
    )
    requests = [
        *(head(b"%s %s HTTP/1.1" % (method, target)) for method in (b"GET", b"PUT", b"DELETE") for target in targets),
        head(b"GET /kv/../../secret HTTP/1.1"),
        head(b"SECRET\xff / HTTP/1.1"),
        head(b"secret"),
        head(
            b"GET /kv/a HTTP/1.1",
            b'traceparent: "}secret{"',
            b'X-Request-Id: "}secret{"',
            b'X-Forwarded-For: "secret\xff"',
        ),
        head(b"PUT /kv/secret HTTP/1.1", b"Content-Length: 99999999"),
        head(b"TRACE /kv/secret HTTP/1.1"),
    ]
    with FakeNode() as node, proxied(node.address) as proxy:
        for request in requests:
            exchange(proxy.port, request)
        written = lines(proxy, len(requests))
    assert len(written) == len(requests)
    assert "secret" not in json.dumps(written).lower()
    assert {line["path"] for line in written} <= {"", "/", "/kv"}
    assert [line["method"] for line in written[: len(targets)]] == ["GET"] * len(targets)
    assert written[-1]["method"] == "TRACE"
    assert {type(line["status"]) for line in written} == {int}
    assert {line["status"] for line in written} == {200, 400, 405, 413}


def test_the_log_tells_where_a_write_was_tried() -> None:
    """A PUT that came to its node by another one, which is dead, is one line with its method, and with both addresses."""
    dead = f"{HOST}:{free_port()}"
    with FakeNode() as node, proxied(dead, node.address) as proxy:
        for _ in range(2):  # one of them begins at the dead node
            exchange(proxy.port, head(b"PUT /kv/a HTTP/1.1", b"Content-Length: 0"))
        written = lines(proxy, 2)
    assert [(line["method"], line["path"], line["status"]) for line in written] == [("PUT", "/kv", 200)] * 2
    assert {line["upstream_addr"] for line in written} >= {f"{dead} : {node.address}"}


def test_maintenance_begins_and_ends_with_a_file() -> None:
    """While the file is there programs get a problem, not applied, people get a page, and nodes get nothing; then all is as before."""
    with FakeNode() as node, proxied(node.address) as proxy:
        file = proxy.folder / "maintenance"
        file.touch()
        for method in (b"GET", b"PUT", b"DELETE", b"POST"):
            answer = exchange(proxy.port, head(b"%s /kv/a HTTP/1.1" % method, b"Content-Length: 0"))
            assert (answer.status, answer.problem, answer.fields["retry-after"]) == (503, "unavailable", "30")
            assert b'"outcome":"not-applied"' in answer.body
        page = exchange(proxy.port, head(b"GET / HTTP/1.1", BROWSER))
        assert (page.status, page.fields["content-type"], page.fields["retry-after"]) == (503, "text/html", "30")
        assert b"<h1>Maintenance</h1>" in page.body
        assert exchange(proxy.port, head(b"GET /nginx/alive HTTP/1.1")).status == 200
        assert not node.requests
        file.unlink()
        assert exchange(proxy.port, head(b"GET / HTTP/1.1", BROWSER)).body == b"done"


def test_a_reload_changes_the_nodes_and_ends_no_request() -> None:
    """After a reload requests go to the new nodes, and one that was under way gets its answer from the old one."""
    port = free_port()
    with (
        FakeNode(hanging) as old,
        FakeNode() as new,
        ThreadPoolExecutor(1) as pool,
        proxied(old.address, port=port) as proxy,
    ):
        under_way = pool.submit(exchange, port, head(b"GET /kv/a HTTP/1.1"))
        wait_until(lambda: bool(old.requests), within_s=20, what="a request is under way")
        proxy.reload(render(proxy_on(port, new.address)))
        assert [exchange(port, head(b"GET / HTTP/1.1")).status for _ in range(20)] == [200] * 20
        assert (len(old.requests), len(new.requests)) == (1, 20)
        old.let_go.set()
        assert under_way.result(20).body == b"done"


def test_a_reload_with_a_mistake_changes_nothing() -> None:
    """What NGINX does not take is told, and what it had goes on."""
    with FakeNode() as node, proxied(node.address) as proxy:
        with pytest.raises(ServerError, match="unknown directive"):
            proxy.reload("mistake;")
        proxy.reload()
        assert exchange(proxy.port, head(b"GET / HTTP/1.1")).status == 200
