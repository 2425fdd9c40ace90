"""Handlers that are called past Litestar's routing answer as they do through it."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kvcore.config import resolve
from kvcore.http.answers import Answer
from kvcore.http.app import build_app
from kvcore.http.edge import Edge
from kvcore.http.raw import raw_handlers
from kvcore.plugins import load_plugins
from kvcore.runtime import Node, open_node

VERSION = re.compile(rb"[0-9a-f]{24}")
MOMENT = re.compile(rb"\w{3}, \d\d \w{3} \d{4} [0-9:]{8} GMT")
PUT: dict[str, Any] = {"method": "PUT", "url": "/kv", "json": {"data": {"key": "key", "value": [1, "é"]}}}
RAW_PUT: dict[str, Any] = {"method": "PUT", "url": "/kv/key", "content": b"\x00\xff"}
OLD = '"' + "0" * 23 + '1"'

REQUESTS: list[dict[str, Any]] = [
    PUT,
    PUT | {"headers": {"If-None-Match": "*"}},
    PUT | {"headers": {"If-Match": OLD}},
    PUT | {"headers": {"Content-Encoding": "gzip"}},
    PUT | {"params": {"ack": "stored"}},
    PUT | {"params": {"ack": "never"}},
    PUT | {"json": {"data": {"key": "", "value": 1}}},
    PUT | {"json": {"data": {"key": "k" * 65_537, "value": 1}}},
    PUT | {"json": {"data": {"key": "key", "value": "v" * (1 << 21)}}},
    {"method": "PUT", "url": "/kv", "content": b"{"},
    {"method": "PUT", "url": "/kv", "content": b""},
    {"method": "GET", "url": "/kv"},
    {"method": "GET", "url": "/kv?key=key"},
    {"method": "GET", "url": "/kv?key=missing"},
    {"method": "GET", "url": "/kv?key=key&key=key"},
    {"method": "GET", "url": "/kv?key=key&unknown=1"},
    {"method": "GET", "url": "/kv?key=key&min_version=" + "f" * 24},
    {"method": "GET", "url": "/kv?key=key", "headers": {"If-None-Match": "*"}},
    {"method": "DELETE", "url": "/kv?key=key"},
    {"method": "DELETE", "url": "/kv?key=key", "headers": {"If-Match": "*"}},
    {"method": "DELETE", "url": "/kv"},
    {"method": "POST", "url": "/kv"},
    {"method": "OPTIONS", "url": "/kv"},
    {"method": "HEAD", "url": "/kv?key=key"},
    {"method": "HEAD", "url": "/kv?key=missing"},
    {"method": "GET", "url": "/nothing"},
    {"method": "OPTIONS", "url": "/nothing"},
    RAW_PUT,
    RAW_PUT | {"headers": {"Content-Type": "application/json"}},
    RAW_PUT | {"headers": {"Content-Type": "not one"}},
    RAW_PUT | {"headers": {"If-Match": OLD}},
    RAW_PUT | {"headers": {"If-Match": "*", "Idempotency-Key": "once"}},
    RAW_PUT | {"headers": {"Idempotency-Key": "once"}},
    RAW_PUT | {"url": "/kv/%ff"},
    RAW_PUT | {"url": "/kv/key?ttl=60"},
    RAW_PUT | {"url": "/kv/key?ttl=0"},
    RAW_PUT | {"content": b"v" * (1 << 21)},
    {"method": "GET", "url": "/kv/key"},
    {"method": "GET", "url": "/kv/missing"},
    {"method": "GET", "url": "/kv/key", "headers": {"If-None-Match": "*"}},
    {"method": "GET", "url": "/kv/key", "headers": {"If-Match": "*"}},
    {"method": "GET", "url": "/kv/key?min_version=" + "f" * 24},
    {"method": "HEAD", "url": "/kv/key"},
    {"method": "DELETE", "url": "/kv/key"},
    {"method": "DELETE", "url": "/kv/key", "headers": {"If-Match": "*"}},
    {"method": "POST", "url": "/kv/key"},
    {"method": "OPTIONS", "url": "/kv/key"},
]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Give a node on the memory profile, without a server around it."""
    plugins = load_plugins()
    async with open_node(resolve(plugins, environment={}, flags={"profile": "memory"}), plugins) as node:
        yield node


async def asked(edge: Edge, request: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, header fields and body of the answer, without what is different each time."""
    transport = httpx.ASGITransport(app=edge)  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.request(**request)
    headers = [
        (name, MOMENT.sub(b"moment", VERSION.sub(b"version", value)))
        for name, value in answer.headers.raw
        if name != b"x-request-id"
    ]
    return answer.status_code, sorted(headers), VERSION.sub(b"version", answer.content)


def past_nothing(hot: Edge, node: Node) -> Edge:
    """Return the same application, in which Litestar calls every handler."""
    return Edge(hot._app, node, hot._gate, hot._limiter)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: f"{one['method']} {one['url'][:40]}")
async def test_the_answer_is_that_of_litestar(node: Node, request_: dict[str, Any]) -> None:
    """Whatever is asked, right or wrong: status, header fields and body are the same on both ways."""
    hot = build_app(node, load_plugins())
    assert isinstance(hot, Edge)
    assert hot._hot
    documented = past_nothing(hot, node)
    both = []
    for edge in (hot, documented):
        await node.service.put("key", b"1", ack="stored")
        for key in ("key", "missing"):
            await node.service.get(key)  # so that both find the same in the cache
        both.append(await asked(edge, request_))
    assert both[0] == both[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS"])
async def test_no_key_reaches_the_router(node: Node, method: str) -> None:
    """Litestar is not asked for anything below `/kv/`, by whatever method: it would take a key apart."""
    hot = build_app(node, load_plugins())
    assert isinstance(hot, Edge)
    asked_for: list[str] = []

    async def router(scope: Any, receive: Any, send: Any) -> None:
        asked_for.append(scope["path"])
        await Answer(404)(scope, receive, send)

    alone = Edge(router, node, hot._gate, hot._limiter, raw_handlers(node.service))
    for path in ("/kv/", "/kv//", "/kv/a", "/kv/a//b/", "/kv/%2F", "/kv/..%2F..", "/kv/kv"):
        await asked(alone, {"method": method, "url": path})
    assert asked_for == []
    await asked(alone, {"method": method, "url": "/kv"})
    assert asked_for == ["/kv"]


async def test_a_fault_is_an_answer_on_both_ways(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is answered with 500 and its request id, and logged, on both ways."""
    caplog.set_level(logging.CRITICAL)

    async def broken(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("a bug")

    hot = build_app(node, load_plugins())
    assert isinstance(hot, Edge)
    monkeypatch.setattr(node.service, "get", broken)
    request = {"method": "GET", "url": "/kv?key=key", "headers": {"X-Request-Id": "mine"}}
    first, second = await asked(hot, request), await asked(past_nothing(hot, node), request)
    assert first == second
    assert first[0] == 500
    assert b"mine" in first[2]
