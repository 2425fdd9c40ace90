"""Starting and stopping a node as an operator does."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import running_node
from tests.relentless import relentless_writers


def test_data_is_still_there_after_a_restart(tmp_path: Path) -> None:
    """What was stored is there after the node was stopped and started again, also after a kill -9."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db")}
    versions: list[str] = []
    for ending in ("stop", "kill", "stop"):
        with running_node(settings) as node:
            number = len(versions)
            if number:
                assert httpx.get(f"{node.url}/kv?key=k{number - 1}").headers["etag"] == versions[-1]
            answer = httpx.put(f"{node.url}/kv", json={"data": {"key": f"k{number}", "value": number}})
            versions.append(answer.headers["etag"])
            getattr(node, ending)()
    assert versions == sorted(versions)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_with_success(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C are ordinary ways to stop: exit code 0, no traceback, and the log says when it began and ended."""
    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node:
        node.signal(number)
        assert node.wait() == 0
        assert "Traceback" not in "".join(node.lines)
        assert node.lines[-2:] == [f"kvcore {what}, process {node.pid}\n" for what in ("is stopping", "has stopped")]


def test_a_draining_node_says_so_and_serves_on(tmp_path: Path) -> None:
    """After SIGTERM the node is not ready, and serves, for as long as is set; then it refuses connections."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db"), "http.drain_s": "1.5"}
    with running_node(settings) as node:
        assert httpx.get(f"{node.url}/health/ready").status_code == 200
        node.signal(signal.SIGTERM)
        while (ready := httpx.get(f"{node.url}/health/ready")).status_code == 200:
            pass
        assert ready.headers["retry-after"]
        assert httpx.put(f"{node.url}/kv", json={"data": {"key": "late", "value": 1}}).status_code == 200
        assert node.wait() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{node.url}/health/live")


def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    """A request that was begun before SIGTERM gets its answer."""
    with (
        running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        version = client.put("/kv", json={"data": {"key": "a", "value": 1}}).json()["data"]["version"]
        answers: list[httpx.Response] = []
        read = {"key": "b", "min_version": version, "wait": 1500}
        thread = threading.Thread(target=lambda: answers.append(httpx.get(f"{node.url}/kv", params=read, timeout=20)))
        thread.start()
        while "kvcore_http_requests_in_progress 2.0" not in client.get("/metrics").text:
            pass
        node.signal(signal.SIGTERM)
        thread.join()
        assert node.wait() == 0
    assert answers[0].json()["type"] == "/problems/version-not-reached"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel cannot be told to let nobody in")
def test_a_node_that_stops_loses_no_request() -> None:
    """Whoever has a connection gets an answer to what it sends, up to the last; all others are refused."""
    with running_node({"profile": "memory", "http.drain_s": "0.3"}) as node, relentless_writers(node.port) as writers:
        writers.wait_for(500)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        writers.wait()
    assert writers.lost == []


def test_each_answer_of_a_draining_node_is_the_last_on_its_connection() -> None:
    """A proxy does not keep the connection for a request that would come when the node is gone."""
    with (
        running_node({"profile": "memory", "http.drain_s": "60"}) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        assert "connection" not in client.get("/health/live").headers
        node.signal(signal.SIGTERM)
        while client.get("/health/live").headers.get("connection") != "close":
            pass
        answers = [client.put("/kv/k", content=b"1"), client.get("/nothing"), client.get("/health/ready")]
        assert [answer.status_code for answer in answers] == [200, 404, 503]
        assert [answer.headers["connection"] for answer in answers] == ["close"] * 3


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While a node drains, another signal ends it, whatever is under way."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db"), "http.drain_s": "60", "http.shutdown_s": "60"}
    with running_node(settings) as node, socket.create_connection(("127.0.0.1", node.port)) as slow:
        slow.sendall(b"PUT /kv HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        while "kvcore_http_requests_in_progress 2.0" not in httpx.get(f"{node.url}/metrics").text:
            pass
        node.signal(signal.SIGTERM)
        while httpx.get(f"{node.url}/health/ready").status_code == 200:
            pass
        node.signal(signal.SIGTERM)
        assert node.wait(timeout_s=20) == 0


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    """A port that something else listens on gives one line that names it, and no node."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"store.sqlite.path": str(tmp_path / "kvcore.db"), "http.port": str(port)}
        with pytest.raises(RuntimeError, match=f"127.0.0.1:{port}.*in use") as refused, running_node(settings):
            pass
    assert len(str(refused.value).strip().splitlines()) == 1
