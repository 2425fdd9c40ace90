"""Paths that are longer than any that there is."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kvcore.config import resolve
from kvcore.http.app import build_worker_app
from kvcore.runtime import open_worker
from tests.unit.core.given_plugins import FakePlugin, fake_plugins

_BACKENDS = ("KVCORE_CACHE__BACKEND", "KVCORE_QUEUE__BACKEND", "KVCORE_STORE__BACKEND")


@pytest.mark.parametrize("begin", ["/health/live", "/kv/"])
async def test_a_worker_does_not_look_for_them(begin: str) -> None:
    """They are answered before Litestar, which would remember them, hears of them; behind /kv/ too, where a worker has no keys."""
    plugins = fake_plugins(FakePlugin([]))
    resolved = resolve(plugins, environment=dict.fromkeys(_BACKENDS, "fake"))
    async with open_worker(resolved, plugins) as worker:
        app: Any = build_worker_app(worker)  # Litestar and httpx name the same types in ways of their own
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get(begin + "/" * 2000)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no path here is as long as this one"
