"""Random requests over a socket: nothing that anybody sends makes a node fail, hang or grow."""

from __future__ import annotations

import asyncio
import collections
import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess, running_node
from tests.e2e.fuzzing import Traffic, Visit, statuses

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "4000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CLIENTS = 32
PATIENCE_S = 30
GROWTH_BYTES = 48 << 20
SETTINGS = {
    # Clients that stall are cut off within a few seconds, so that a run does not take hours.
    "http.head_timeout_s": "1",
    "http.body_timeout_s": "1",
    "http.send_timeout_s": "2",
    "http.keep_alive_s": "1",
}


async def visited(port: int, visit: Visit) -> bytes:
    """Do what a client does, and return all that came back; the node must end the connection, unless the client does."""
    received = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):  # the node may end it at any time
        for part in visit.parts:
            writer.write(part)
            await writer.drain()
        if visit.ending == "half":
            writer.write_eof()
    with suppress(ConnectionError):  # the node may close first, and often must
        while visit.ending != "leave" and (chunk := await reader.read(65_536)):
            received += chunk
    writer.close()
    return received


async def fuzz(port: int, traffic: Traffic, requests: int) -> collections.Counter[int]:
    """Send so many requests, by several clients at once, and count the statuses of the answers."""
    counted: collections.Counter[int] = collections.Counter()
    left = requests

    async def client() -> None:
        nonlocal left
        while left > 0:
            visit = traffic.visit()
            left -= visit.requests
            try:
                async with asyncio.timeout(PATIENCE_S):
                    received = await visited(port, visit)
            except TimeoutError:
                pytest.fail(f"no end within {PATIENCE_S} s: {visit}")
            found = statuses(received)
            assert 500 not in found, visit
            counted.update(found)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return counted


def resident_bytes(node: NodeProcess) -> int:
    """Return how much memory a node has."""
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(1800)
def test_random_requests_do_no_harm(tmp_path: Path) -> None:
    """Every request is answered, never with 500, or its connection ends in time; then the node is as it was before."""
    traffic = Traffic(SEED)
    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db"), **SETTINGS}) as node:
        before_lines = len(node.lines)
        warm_up = REQUESTS // 4
        counted = asyncio.run(fuzz(node.port, traffic, warm_up))
        warm = resident_bytes(node)
        counted += asyncio.run(fuzz(node.port, traffic, REQUESTS - warm_up))
        grown = resident_bytes(node) - warm
        print(f"seed {SEED}: {REQUESTS} requests; answers {dict(sorted(counted.items()))}; grown by {grown >> 10} KiB")
        assert grown < GROWTH_BYTES
        assert {200, 400, 404, 408, 412} <= set(counted)
        assert httpx.get(f"{node.url}/health").json()["status"] == "healthy"
        assert httpx.put(f"{node.url}/kv", json={"data": {"key": "after", "value": 1}}).status_code == 200
        while (metrics := httpx.get(f"{node.url}/metrics").text) and "kvcore_http_connections 1.0" not in metrics:
            pass
        assert "kvcore_http_buffered_bytes 0.0" in metrics
        assert "kvcore_http_requests_in_progress 1.0" in metrics
        assert node.lines[before_lines:] == []
