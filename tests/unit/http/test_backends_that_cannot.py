"""What a backend cannot do, or not now, is a clear answer of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from kvcore.backends import CacheStats, Factory
from kvcore.config import resolve
from kvcore.errors import UnavailableError
from kvcore.hookspecs import hookimpl
from kvcore.http.app import build_app
from kvcore.runtime import open_node
from tests.unit.core.fakes import FakeCache
from tests.unit.core.given_plugins import FakePlugin, fake_plugins

PUT: dict[str, Any] = {"json": {"data": {"key": "key", "value": 1}}}


class SilentCache(FakeCache):
    """A cache whose server does not say how it is."""

    async def stats(self) -> CacheStats:
        raise UnavailableError("the server is down")


class Given(FakePlugin):
    """Gives the silent cache, too."""

    @hookimpl
    def kvcore_caches(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeCache), self.factory("silent", SilentCache)]


@asynccontextmanager
async def client_of(**backends: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a node without a queue on these backends."""
    plugins = fake_plugins(Given())
    chosen = {"cache": "fake", "queue": "none", "store": "fake"} | backends
    environment = {f"KVCORE_{kind.upper()}__BACKEND": name for kind, name in chosen.items()}
    async with open_node(resolve(plugins, environment=environment), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@pytest.mark.parametrize("path", ["/kv", "/kv/key"])
async def test_a_store_that_remembers_no_requests_makes_idempotency_keys_unsupported(path: str) -> None:
    """An Idempotency-Key that cannot be honoured is answered with 501 in both forms, and nothing is written; without one it is."""
    body = PUT if path == "/kv" else {"content": b"1"}
    create = {"If-None-Match": "*"}
    async with client_of(store="forgetful") as client:
        refused = await client.put(path, headers=create | {"Idempotency-Key": "once"}, **body)
        assert refused.status_code == 501
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/unsupported"
        assert "Idempotency-Key" in refused.json()["detail"]
        assert (await client.put(path, headers=create, **body)).status_code == 201


async def test_a_store_that_remembers_requests_is_asked_to() -> None:
    """The same requests on a store with the ability: the second gets the first one's answer."""
    once = {"If-None-Match": "*", "Idempotency-Key": "once"}
    async with client_of() as client:
        first, second = [await client.put("/kv", headers=once, **PUT) for _ in range(2)]
        assert (first.status_code, first.content) == (201, second.content)


async def test_a_cache_that_does_not_answer_has_no_numbers() -> None:
    """`GET /cache/stats` is 503 with Retry-After while the cache cannot be asked, and says that nothing was done."""
    async with client_of(cache="silent") as client:
        answer = await client.get("/cache/stats")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert answer.json()["outcome"] == "not-applied"
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_hit_rate_is_a_percentage_and_zero_without_reads() -> None:
    """`hit_rate` of a node is the share of its reads that the cache answered, in percent."""
    async with client_of() as client:
        untouched = (await client.get("/cache/stats")).json()
        assert untouched["node"] == {"cache_hits": 0, "cache_misses": 0, "hit_rate": 0.0}
        assert untouched["hit_rate"] == 0.0
        for _ in range(3):
            await client.get("/kv/key")
        assert (await client.get("/cache/stats")).json()["node"] == {
            "cache_hits": 2,
            "cache_misses": 1,
            "hit_rate": 66.67,
        }
