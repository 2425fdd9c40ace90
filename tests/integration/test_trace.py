"""One request, from the proxy's log to the line of the worker that has applied its write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from kvcore.logs import hashed
from kvcore.testing.nodes import NodeProcess, running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, NginxProxy, RabbitCluster, RedisServers
from kvcore.testing.servers.ports import HOST
from kvcore.testing.servers.process import wait_until
from tests.deployment.proxied import proxied

CALLER = f"00-{'a1' * 16}-{'b2' * 8}-01"
KEY = 'customer:7 \r\n{"level":"forged"}'


class Lines:
    """The lines of one process, each of which must be a JSON object."""

    def __init__(self, lines: Callable[[], list[str]]) -> None:
        self._lines = lines

    def of(self, **members: object) -> dict[str, Any]:
        """Wait for a line with these members, and return it."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [one for one in map(json.loads, self._lines()) if members.items() <= one.items()]
            return bool(found)

        wait_until(is_there, within_s=60, what=f"a line with {members}")
        return found[0]


def said_by(process: NodeProcess) -> Lines:
    """Return the lines of a node or worker."""
    return Lines(lambda: list(process.lines))


class Stage:
    """NGINX, a node and a worker, whose logs are JSON since nobody reads them on a terminal."""

    def __init__(self, proxy: NginxProxy, node: NodeProcess, worker: NodeProcess) -> None:
        self.url = proxy.url
        self.proxy = Lines(lambda: proxy.access_log.read_text().splitlines())
        self.node = said_by(node)
        self.worker = said_by(worker)


@pytest.fixture(scope="module")
def stage(redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database) -> Iterator[Stage]:
    """Give them on the production profile, with a line for each request and each write."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="trace") | {"log.requests": "true"}
    with (
        running_worker(settings) as worker,
        running_node(settings) as node,
        # All requests come from this machine: the address that counts is the one that a test says.
        proxied(node.url.removeprefix("http://"), trusted_proxies=(HOST,)) as proxy,
    ):
        yield Stage(proxy, node, worker)


def put(stage: Stage, **headers: str) -> str:
    """Write through the proxy, and return the id that the request got."""
    body = {"data": {"key": KEY, "value": 1}}
    answer = httpx.put(f"{stage.url}/kv?ack=accepted", json=body, headers=headers, timeout=30)
    assert answer.is_success, answer.text
    return answer.headers["x-request-id"]


def test_a_request_is_followed_from_the_proxy_to_the_worker(stage: Stage) -> None:
    """A write through NGINX has one trace id in its access log, in the node's line and in the line of the worker that has applied it."""
    request_id = put(stage)
    passed = stage.proxy.of(request_id=request_id)
    answered = stage.node.of(request_id=request_id)
    applied = stage.worker.of(trace_id=passed["trace_id"])
    assert answered["trace_id"] == applied["trace_id"] == passed["trace_id"] == request_id
    assert (passed["status"], passed["method"], passed["path"]) == (answered["status"], "PUT", "/kv")
    assert (answered["operation"], applied["verdict"]) == ("putValue", "applied")
    assert answered["key"] == applied["key"] == hashed(KEY)
    assert answered["node"] != applied["node"]
    assert passed["request_time"] >= float(passed["upstream_response_time"])


def test_a_caller_of_one_s_own_may_name_the_trace(stage: Stage) -> None:
    """The traceparent of a trusted caller goes through; the id of the request stays the proxy's."""
    request_id = put(stage, traceparent=CALLER)
    for lines in (stage.proxy, stage.node):
        assert lines.of(request_id=request_id)["trace_id"] == "a1" * 16
    assert stage.worker.of(trace_id="a1" * 16)["verdict"] == "applied"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": CALLER, "x-forwarded-for": "203.0.113.7"},
        {"traceparent": f"{CALLER}-more"},
        {"traceparent": CALLER.upper()},
        {"traceparent": f"00-{'0' * 32}-{'b2' * 8}-01"},
        {"traceparent": '"}{"'},
        {"x-request-id": "of-the-caller"},
    ],
    ids=["a stranger's", "too long", "not in lower case", "all zeros", "no traceparent", "another's request id"],
)
def test_a_trace_begins_at_the_proxy_where_there_is_none_to_go_on(stage: Stage, headers: dict[str, str]) -> None:
    """What a stranger says, or what is malformed, names neither the trace nor the request."""
    request_id = put(stage, **headers)
    assert len(request_id) == 32
    for lines in (stage.proxy, stage.node):
        assert lines.of(request_id=request_id)["trace_id"] == request_id


def test_no_path_makes_a_line_that_cannot_be_read(stage: Stage) -> None:
    """What is not text, or looks like a key, is not in the log of the proxy; the first word of the API is."""
    for path, told in {"/%ff%fe": "/", "/%1B[31m": "/", "/kv%3Fkey=secret": "/kv", "/kv/secret": "/kv"}.items():
        request_id = httpx.get(f"{stage.url}{path}", timeout=30).headers["x-request-id"]
        assert stage.proxy.of(request_id=request_id)["path"] == told
