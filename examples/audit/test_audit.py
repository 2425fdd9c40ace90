"""The example plugin, on a node in this process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from kvcore.config import resolve
from kvcore.http.app import build_app
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node


async def test_a_plugin_sees_what_is_applied_and_serves_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write and a delete through the API appear in the plugin's own route, newest first."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    audit = importlib.import_module("kvcore_audit")
    plugins = load_plugins(extra=[("audit", audit.Audit())])
    resolved = resolve(plugins, environment={}, flags={"profile": "memory"})
    async with open_node(resolved, plugins) as node:
        transport = httpx.ASGITransport(build_app(node, plugins))  # type: ignore[arg-type]  # each types ASGI in its own way
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.put("/kv", json={"data": {"key": "a", "value": 1}})
            await client.delete("/kv", params={"key": "a"})
            seen: Sequence[dict[str, str]] = (await client.get("/audit")).json()
    assert [(line["operation"], line["key"]) for line in seen] == [("delete", "a"), ("put", "a")]
    assert seen[0]["version"] > seen[1]["version"]
