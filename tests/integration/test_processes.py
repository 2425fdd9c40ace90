"""Several processes on one port: they serve together, show their metrics together, and none outlives who has started them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvcore.testing.nodes import NodeProcess, running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore.testing.servers.process import wait_until
from kvcore.testing.servers.process_tree import Member, is_alive, members
from tests.relentless import relentless_writers

COUNT = 3


@pytest.fixture(scope="module")
def settings(redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database) -> dict[str, str]:
    """Give the settings of a node on real servers."""
    return production_settings(redis_servers, rabbitmq_cluster, database, name="processes")


@pytest.fixture
def node(settings: dict[str, str]) -> Iterator[NodeProcess]:
    """Give a node of several processes; a test may end it."""
    with running_node(settings | {"http.processes": str(COUNT)}) as node:
        yield node


def of(node: NodeProcess) -> list[Member]:
    """Return the processes that serve a node's port."""
    return members(node.pid)[1:]


def asked(node: NodeProcess, path: str) -> httpx.Response:
    """Ask over a connection of its own, which any of the processes may take."""
    return httpx.get(node.url + path, timeout=10)


def shown(node: NodeProcess, name: str) -> dict[str, float]:
    """Return the sum of a metric's samples for each process."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(asked(node, "/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["process"]] = found.get(sample.labels["process"], 0) + sample.value
    return found


def test_every_process_serves_and_each_scrape_shows_all(node: NodeProcess, settings: dict[str, str]) -> None:
    """Requests come to all of them, and whichever is asked for metrics, none of the requests is missing."""
    served = "kvcore_http_request_duration_seconds_count"
    with running_worker(settings):
        nodes: set[str] = set()
        while len(nodes) < COUNT:
            nodes.add(asked(node, "/health").json()["node"])
    before = sum(shown(node, served).values())
    for asked_before in range(1, 21):
        found = shown(node, served)
        assert set(found) == {"0", "1", "2"}
        assert sum(found.values()) == before + asked_before


def test_what_one_process_writes_another_reads(node: NodeProcess) -> None:
    """They share cache, queue and store, and nothing else is needed."""
    for number in range(30):
        assert httpx.put(f"{node.url}/kv/shared", content=b"%d" % number).status_code == 202
        assert asked(node, "/kv/shared").content == b"%d" % number


def test_a_process_that_ends_is_replaced(node: NodeProcess) -> None:
    """The others go on, another one takes its place and its number, and the log says so."""
    first = of(node)
    os.kill(first[1].pid, signal.SIGKILL)
    wait_until(lambda: len(of(node)) == COUNT and first[1] not in of(node), within_s=30, what="there is another one")
    wait_until(lambda: len(shown(node, "kvcore_http_connections")) == COUNT, within_s=30, what="it serves")
    assert {first[0], first[2]} < set(of(node))
    assert any(f"process {first[1].pid} has ended with -9" in line for line in node.lines)


def test_a_signal_ends_all(node: NodeProcess) -> None:
    """SIGTERM is passed on, each process ends in good order, and so does the node."""
    there = of(node)
    node.signal(signal.SIGTERM)
    assert node.wait() == 0
    assert len(there) == COUNT
    assert not any(map(is_alive, there))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel cannot be told to let nobody in")
def test_all_stop_without_losing_a_request(settings: dict[str, str]) -> None:
    """None of them leaves connections to the others, or to the one that has started them, that nobody takes any more."""
    draining = settings | {"http.processes": str(COUNT), "http.drain_s": "0.3"}
    with running_node(draining) as node, relentless_writers(node.port) as writers:
        writers.wait_for(500)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        writers.wait()
    assert writers.lost == []


def test_one_that_stops_alone_does_not_keep_the_others_from_serving(node: NodeProcess) -> None:
    """It is replaced like one that has ended by a fault, and its clients go to the others."""
    first = of(node)
    os.kill(first[1].pid, signal.SIGTERM)
    while first[1] in of(node):
        assert asked(node, "/health/live").status_code == 200
    wait_until(lambda: len(shown(node, "kvcore_http_connections")) == COUNT, within_s=30, what="another one serves")


def test_none_outlives_the_process_that_has_started_it(node: NodeProcess) -> None:
    """When that one is killed they stop by themselves."""
    there = of(node)
    assert len(there) == COUNT
    node.kill()
    wait_until(lambda: not any(map(is_alive, there)), within_s=30, what="they have ended")


def test_a_node_that_cannot_start_says_why_once_and_leaves_nothing(settings: dict[str, str]) -> None:
    """What one process cannot do ends all of them."""
    broken = {"http.processes": "2", "auth.file": "/nowhere/tokens.toml"}
    with pytest.raises(RuntimeError, match="before it was ready") as raised, running_node(settings | broken):
        pytest.fail("it has started")
    assert "there is no such file" in str(raised.value)
