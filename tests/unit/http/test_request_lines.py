"""Which trace a request is taken to belong to, and the line that is written of it where lines are asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from kvcore.config import resolve
from kvcore.http.app import build_app
from kvcore.logs import JsonLines, hashed
from kvcore.plugins import load_plugins
from kvcore.runtime import Node, open_node

TRACEPARENT = f"00-{'a1' * 16}-{'b2' * 8}-01"
OTHER = f"00-{'c3' * 16}-{'d4' * 8}-01"


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    """Give a node on the memory profile, and a client of it."""
    plugins = load_plugins()
    flags = {"profile": "memory", **{path.replace("__", "."): value for path, value in settings.items()}}
    async with open_node(resolve(plugins, environment={}, flags=flags), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins), raise_app_exceptions=False)  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield node, client


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return a list that is going to have the lines of the log, made when they are logged."""
    seen: list[dict[str, Any]] = []
    caplog.set_level(logging.INFO)

    class Keep(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            seen.append(json.loads(JsonLines().format(record)))
            return True

    caplog.handler.addFilter(Keep())
    return seen


async def test_no_request_has_a_line_by_default(told: list[dict[str, Any]]) -> None:
    """Unless `log.requests` is set, nothing is written of requests and writes."""
    async with running() as (_, client):
        await client.put("/kv?ack=stored", json={"data": {"key": "k", "value": 1}})
        await client.get("/kv?key=k")
    assert [line for line in told if "operation" in line or "verdict" in line] == []


@pytest.mark.parametrize(
    ("method", "path", "content", "operation", "status", "key"),
    [
        ("PUT", "/kv?ack=stored", b'{"data":{"key":"a/b","value":1}}', "putValue", 200, "a/b"),
        ("GET", "/kv?key=a%2Fb", b"", "getValue", 404, "a/b"),
        ("HEAD", "/kv?key=a%2Fb", b"", "getValue", 404, "a/b"),
        ("DELETE", "/kv?key=a%2Fb&ack=stored", b"", "deleteValue", 200, "a/b"),
        ("PUT", "/kv/a/b?ack=stored", b"1", "putRawValue", 200, "a/b"),
        ("GET", "/kv/a/b", b"", "getRawValue", 404, "a/b"),
        ("DELETE", "/kv/a/b?ack=stored", b"", "deleteRawValue", 200, "a/b"),
        ("GET", "/keys?prefix=a", b"", "listKeys", 200, None),
        ("GET", "/kv", b"", "getValue", 400, None),
        ("GET", "/nothing", b"", "none", 404, None),
    ],
)
async def test_each_request_has_a_line_where_lines_are_asked_for(
    told: list[dict[str, Any]], method: str, path: str, content: bytes, operation: str, status: int, key: str | None
) -> None:
    """It has the operation, the status, how long it took, who asked, the ids, and the key where it is about one."""
    headers = {"content-type": "application/json", "traceparent": TRACEPARENT, "x-request-id": "mine"}
    async with running(log__requests="true") as (_, client):
        await client.request(method, path, content=content, headers=headers)
    (line,) = [line for line in told if "operation" in line]
    assert (line["operation"], line["status"], line["client"]) == (operation, status, "127.0.0.1")
    assert (line["request_id"], line["trace_id"]) == ("mine", "a1" * 16)
    assert line.get("key") == (None if key is None else hashed(key))
    assert line["duration_ms"] >= 0


async def test_the_client_of_a_line_is_the_one_that_limits_count(told: list[dict[str, Any]]) -> None:
    """Behind a trusted proxy it is the address that the proxy names."""
    settings = {"log__requests": "true", "http__trusted_proxies": '["127.0.0.1"]'}
    async with running(**settings) as (_, client):
        await client.get("/kv?key=k", headers={"x-forwarded-for": "203.0.113.7"})
    assert [line["client"] for line in told if "operation" in line] == ["203.0.113.7"]


@pytest.mark.parametrize(
    ("given", "trace_id"),
    [
        ([TRACEPARENT], "a1" * 16),
        ([TRACEPARENT, OTHER], None),
        ([TRACEPARENT, TRACEPARENT], None),
        (["x"], None),
        ([], None),
    ],
)
async def test_one_traceparent_is_believed(told: list[dict[str, Any]], given: list[str], trace_id: str | None) -> None:
    """A request with several, or with one that is none, begins no trace of theirs."""
    async with running(log__requests="true") as (_, client):
        await client.get("/kv?key=k", headers=[("traceparent", one) for one in given])
    assert [line.get("trace_id") for line in told if "operation" in line] == [trace_id]


async def test_a_fault_names_the_request_the_trace_and_the_key(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must not happen is logged with all that leads to the request, and its traceback."""
    async with running() as (node, client):

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("a fault")

        monkeypatch.setattr(node.service, "get", fail)
        answer = await client.get("/kv?key=k", headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 500
    (line,) = [line for line in told if line["level"] == "error"]
    assert (line["request_id"], line["trace_id"], line["key"]) == (
        answer.headers["x-request-id"],
        "a1" * 16,
        hashed("k"),
    )
    assert line["exception"].endswith("RuntimeError: a fault")
