"""No label of a metric can have any value that a client makes up."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from kvcore.backends import Cache, Queue, Store
from kvcore.config import resolve
from kvcore.http.app import build_app
from kvcore.metrics import Described
from kvcore.plugins import load_plugins
from kvcore.runtime import Node, open_node

STATUS = re.compile(r"[2-5]\d\d")
CALLS = {name for contract in (Cache, Queue, Store) for name in vars(contract)} | {"scan", "fill"}
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE")

Series = tuple[str, frozenset[tuple[str, str]]]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    """Give a node on the memory profile, and a client of it."""
    plugins = load_plugins()
    async with open_node(resolve(plugins, environment={}, flags={"profile": "memory"}), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield node, client


def odd_requests() -> Iterator[dict[str, Any]]:
    """Give requests of which all that a client chooses is new each time: methods, paths, keys, names and header fields."""
    for method in (*METHODS, f"M{secrets.token_hex(3).upper()}"):
        word = secrets.token_hex(4)
        headers = {"X-Request-Id": word, "Authorization": f"Bearer {word}", word: word, "traceparent": word}
        for path in (
            f"/{word}",
            f"/kv/{word}",
            f"/kv?key={word}",
            f"/kv?{word}=1",
            f"/keys?prefix={word}",
            f"/docs/{word}",
        ):
            yield {"method": method, "url": path, "headers": headers}
        yield {"method": method, "url": f"/kv/{word}", "content": word, "headers": {"If-None-Match": f'"{word}"'}}
    word = secrets.token_hex(4)
    yield {"method": "PUT", "url": "/kv", "json": {"data": {"key": word, "value": word}}}
    writes = [{"op": "put", "key": word, "value": 1}, {"op": "delete", "key": word, "if_match": word + "0" * 16}]
    for operation in (*writes, {"op": "get", "key": word}, {"op": word, "key": word}, {word: word}):
        yield {"method": "POST", "url": "/batch", "json": {"operations": [operation]}}


async def send_all(client: httpx.AsyncClient) -> None:
    """Send odd requests, one after the other."""
    async with asyncio.timeout(600):
        for request in odd_requests():
            await client.request(**request)


def series(node: Node) -> set[Series]:
    """Return the names and labels of everything that is shown, but for what tells of this interpreter."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in node.metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("kvcore_")
    }


async def test_other_requests_make_no_other_series() -> None:
    """When all that a client chooses is exchanged, the same series count it: their number has a bound."""
    async with running() as (node, client):
        await send_all(client)
        before = series(node)
        await send_all(client)
        assert series(node) - before == set()
        assert len(before) < 2000


async def test_labels_have_the_values_that_are_documented() -> None:
    """What is listed is all that there is; what is not listed are operations of the API, statuses, and calls of contracts."""
    async with running() as (node, client):
        await send_all(client)
        schema = (await client.get("/docs/openapi.json")).json()
        operations = {one["operationId"] for path in schema["paths"].values() for one in path.values()} | {"none"}
        for metric in node.metrics.described():
            own = [
                {name: value for name, value in labels if name != "le"}
                for name, labels in series(node)
                if re.fullmatch(f"{metric.name}(_bucket|_count|_sum)?", name)
            ]
            for labels in own:
                assert list(labels) != [] or not metric.labels
                assert labels.keys() == metric.labels.keys()
                assert_bounded(metric, labels, operations)


def assert_bounded(metric: Described, labels: dict[str, str], operations: set[str]) -> None:
    """Check each value against what is documented."""
    for name, value in labels.items():
        values = metric.labels[name]
        if not isinstance(values, str):
            assert value in values
        elif name == "status":
            assert STATUS.fullmatch(value)
        elif name == "operation":
            assert value in (operations if metric.name.startswith("kvcore_http_") else CALLS)
        else:
            assert metric.name == "kvcore_build_info"


@pytest.mark.parametrize(
    ("request_", "operation", "status"),
    [
        ({"method": "GET", "url": "/kv?key=none"}, "getValue", "404"),
        ({"method": "GET", "url": "/nothing"}, "none", "404"),
        ({"method": "BREW", "url": "/kv?key=none"}, "none", "405"),
    ],
    ids=["operation", "no-path", "no-method"],
)
async def test_a_request_counts_by_operation_and_status(request_: dict[str, Any], operation: str, status: str) -> None:
    """What is no operation of the API counts as none."""
    async with running() as (node, client):
        await client.request(**request_)
        told = {"operation": operation, "status": status}
        assert node.metrics.registry.get_sample_value("kvcore_http_request_duration_seconds_count", told) == 1


async def test_the_results_of_a_batch_count_by_operation_and_status() -> None:
    """A batch is answered 200, whatever became of its operations."""
    async with running() as (node, client):
        operations = [
            {"op": "put", "key": "key", "value": 1},
            {"op": "get", "key": "none"},
            {"op": "get", "key": "another"},
        ]
        await client.post("/batch", json={"operations": operations})
        counted = node.metrics.registry.get_sample_value
        assert counted("kvcore_batch_operations_total", {"operation": "put", "status": "200"}) == 1
        assert counted("kvcore_batch_operations_total", {"operation": "get", "status": "404"}) == 2


async def test_negative_hits_are_hits_in_the_statistics_of_the_cache() -> None:
    """That a key does not exist is an answer of the cache like any other."""
    async with running() as (_, client):
        for _ in range(4):
            await client.get("/kv?key=none")
        node = (await client.get("/cache/stats")).json()["node"]
        assert node == {"cache_hits": 3, "cache_misses": 1, "hit_rate": 75.0}
