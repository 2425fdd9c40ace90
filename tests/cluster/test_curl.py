"""The examples of the API, typed as they stand there, through NGINX on the whole topology; and the largest keys and values."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from deploy.local.topology import Topology
from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.testing.fixtures import required
from kvcore.testing.nodes import running_node
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import wait_until

ADDRESS = "http://127.0.0.1:8000"
"""What the examples say instead of the address of NGINX."""
KEYS_64_KIB = {"in the body and the query": "é" * 32_768, "in the path": "k" * 65_536}
"""The longest keys. Percent-encoded, the first is 192 KiB of a request line; the second is as long as curl can be given a path."""
VALUE_64_KIB = "v" * (65_536 - len('""'))
VALUE_1_MIB = "v" * ((1 << 20) - len('""'))


@pytest.fixture
def url(topology: Topology) -> str:
    """Give the address of NGINX, where there is curl to ask it."""
    required(lambda: find_executable("curl", package="curl"))
    return topology.proxy.url


@pytest.fixture
def url_for_long_keys(url: str, tmp_path: Path) -> Iterator[str]:
    """Give the address of the same NGINX before one node whose store takes keys of any length: PostgreSQL does not, CockroachDB does."""
    port = free_port()
    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node:
        proxy = Proxy(
            nodes=(f"{HOST}:{node.port}",), listen=(f"{HOST}:{port}",), access_log="access.log", maintenance_file="away"
        )
        with NginxProxy(render(proxy), port=port) as nginx:
            yield nginx.url


def curl(command: str, url: str, *more: str, stdin: bytes | None = None) -> tuple[int, Any]:
    """Run a command, and return the status and the document that it is answered with."""
    words = [*shlex.split(command.replace(ADDRESS, url)), *more, "-sS", "-w", "\n%{http_code}"]
    done = subprocess.run(words, input=stdin, capture_output=True, check=True, timeout=60)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body)


def test_a_key_is_written_read_and_deleted(url: str) -> None:
    """PUT is accepted, GET shows the value, DELETE is accepted, and GET finds nothing: each command as it is documented."""
    put = curl("""curl -X PUT http://127.0.0.1:8000/kv -d '{"data": {"key": "exemplo", "value": "valor123"}}'""", url)
    assert (put[0], put[1]["data"]["key"], put[1]["detail"]) == (202, "exemplo", "queued")
    assert curl("curl 'http://127.0.0.1:8000/kv?key=exemplo'", url) == (200, {"data": {"value": "valor123"}})
    deleted = curl("curl -X DELETE 'http://127.0.0.1:8000/kv?key=exemplo'", url)
    assert (deleted[0], deleted[1]["data"]["key"]) == (202, "exemplo")
    missing = curl("curl 'http://127.0.0.1:8000/kv?key=exemplo'", url)
    assert (missing[0], missing[1]["type"]) == (404, "/problems/key-not-found")


def test_the_service_tells_how_it_is(url: str) -> None:
    """Health, liveness and readiness, the numbers of the cache, and the description of the API come through."""
    status, health = curl("curl http://127.0.0.1:8000/health", url)
    assert (status, health["status"], health["components"].keys()) == (200, "healthy", {"cache", "queue", "store"})
    assert curl("curl http://127.0.0.1:8000/health/live", url) == (200, {"status": "alive"})
    assert curl("curl http://127.0.0.1:8000/health/ready", url) == (200, {"status": "ready"})
    status, stats = curl("curl http://127.0.0.1:8000/cache/stats", url)
    assert status == 200
    assert {"keys_count", "max_keys_limit", "cache_hits", "cache_misses", "hit_rate"} <= stats.keys()
    status, described = curl("curl http://127.0.0.1:8000/docs/openapi.json", url)
    assert (status, described["openapi"][:3]) == (200, "3.1")


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_a_browser_gets_its_pages(url: str, page: str) -> None:
    """The console and the documentation are pages of HTML."""
    done = subprocess.run(["curl", "-sSi", f"{url}{page}"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("HTTP/1.1 200 ")
    assert "text/html" in done.stdout.lower()


def test_every_process_has_its_part_in_it(topology: Topology, url: str) -> None:
    """Requests reach all nodes, and what one node has written is in the store when a worker has been at it."""
    nodes = set()

    def all_are_seen() -> bool:
        nodes.add(curl("curl http://127.0.0.1:8000/health", url)[1]["node"])
        return len(nodes) == len(topology.service.nodes)

    wait_until(all_are_seen, within_s=60, what="each node has answered")
    status, stored = curl(
        "curl -X PUT 'http://127.0.0.1:8000/kv?ack=stored' -d @-", url, stdin=b'{"data": {"key": "all", "value": 1}}'
    )
    assert (status, stored["detail"]) == (200, "stored")
    for node in topology.service.nodes:
        answer = httpx.get(f"{node.url}/kv", params={"key": "all"}, headers={"Cache-Control": "no-cache"})
        assert answer.json() == {"data": {"value": 1}}


@pytest.mark.parametrize("value", [VALUE_64_KIB, VALUE_1_MIB], ids=["64 KiB", "1 MiB"])
def test_large_values_come_back_in_both_forms(url: str, tmp_path: Path, value: str) -> None:
    """What is written in one form is read in both, byte for byte."""
    key = f"large/{len(value)}"
    document = tmp_path / "document.json"
    document.write_text(json.dumps({"data": {"key": key, "value": value}}))
    put = "curl -X PUT 'http://127.0.0.1:8000/kv?ack=stored' -d"
    assert curl(put, url, f"@{document}")[0] == 200
    assert curl(f"curl '{ADDRESS}/kv?key={quote(key, safe='')}'", url) == (200, {"data": {"value": value}})
    assert curl(f"curl {ADDRESS}/kv/{key}", url) == (200, value)
    raw = tmp_path / "raw.json"
    raw.write_text(json.dumps(value + "x")[1:])  # as long as before, and no JSON
    put = f"curl -T {raw} -H 'Content-Type: text/plain' '{ADDRESS}/kv/{key}?ack=stored'"
    assert curl(put, url)[0] == 200
    done = subprocess.run(["curl", "-sS", f"{url}/kv/{key}"], capture_output=True, check=True, timeout=60)
    assert done.stdout == raw.read_bytes()


def test_keys_of_64_kib_go_round(url_for_long_keys: str, tmp_path: Path) -> None:
    """Written and read in either form, and deleted."""
    assert [status for status, _ in with_longest_keys(url_for_long_keys, tmp_path)] == [200, 200, 200, 404] * 2


def test_keys_that_the_store_does_not_take_are_refused_by_a_node(url: str, tmp_path: Path) -> None:
    """NGINX passes them on as they are: the node says whether they are too long, which depends on the store."""
    if httpx.get(f"{url}/health").json()["limits"]["max_key_bytes"] == 65_536:
        expected: set[tuple[int, str | None]] = {(200, None), (404, "/problems/key-not-found")}
    else:
        expected = {(414, "/problems/key-too-long")}
    assert {(status, answer.get("type")) for status, answer in with_longest_keys(url, tmp_path)} == expected


def with_longest_keys(url: str, folder: Path) -> Iterator[tuple[int, Any]]:
    """Write, read and delete a key of 64 KiB, and read it once more, in one form and then in the other; yield the answers."""
    in_query, in_path = KEYS_64_KIB.values()
    document, raw, key = folder / "document.json", folder / "raw.json", folder / "key"
    document.write_text(json.dumps({"data": {"key": in_query, "value": {"n": 1}}}, ensure_ascii=False))
    raw.write_text(json.dumps({"n": 2}))
    key.write_text(in_query)  # an argument of more than 128 KiB is too long for Linux
    query = f"-G --data-urlencode key@{key} --data-raw ack=stored"
    yield curl(f"curl -X PUT '{ADDRESS}/kv?ack=stored' --data-binary @{document}", url)
    yield curl(f"curl {ADDRESS}/kv -G --data-urlencode key@{key}", url)
    yield curl(f"curl -X DELETE {ADDRESS}/kv {query}", url)
    yield curl(f"curl {ADDRESS}/kv -G --data-urlencode key@{key}", url)
    yield curl(f"curl -T {raw} -H 'Content-Type: application/json' '{ADDRESS}/kv/{in_path}?ack=stored'", url)
    yield curl(f"curl {ADDRESS}/kv/{in_path}", url)
    yield curl(f"curl -X DELETE '{ADDRESS}/kv/{in_path}?ack=stored'", url)
    yield curl(f"curl {ADDRESS}/kv/{in_path}", url)
