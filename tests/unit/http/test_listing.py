"""Listing on a store that cannot, or is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import pytest

from kvcore.backends import Ability, Factory
from kvcore.config import resolve
from kvcore.hookspecs import hookimpl
from kvcore.http.app import build_app
from kvcore.runtime import Node, open_node
from tests.unit.core.fakes import FakeStore
from tests.unit.core.given_plugins import FakePlugin, fake_plugins


class BlindStore(FakeStore):
    """A store that does not list its keys; whoever asks it all the same gets a wrong answer."""

    abilities: ClassVar = FakeStore.abilities - {Ability.LISTING}


class Given(FakePlugin):
    """Gives the blind store, too."""

    @hookimpl
    def kvcore_stores(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeStore), self.factory("blind", BlindStore)]


@asynccontextmanager
async def running(store: str) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    """Give a node on a store, and a client of it."""
    plugins = fake_plugins(Given())
    chosen = {"cache": "fake", "queue": "none", "store": store}
    environment = {f"KVCORE_{kind.upper()}__BACKEND": name for kind, name in chosen.items()}
    environment["KVCORE_LIMITS__MAX_KEY_BYTES"] = "10"
    async with open_node(resolve(plugins, environment=environment), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield node, client


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_store_that_cannot_list_makes_keys_unsupported(method: str) -> None:
    """Without the ability `/keys` is 501 with what to do, and nothing is listed or deleted; single keys work."""
    async with running("blind") as (_, client):
        assert (await client.put("/kv", json={"data": {"key": "key", "value": 1}})).status_code in (200, 202)
        answer = await client.request(method, "/keys?prefix=")
        assert answer.status_code == 501
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/unsupported"
        assert "choose a store" in answer.json()["detail"]
        assert (await client.get("/kv?key=key")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_store_that_is_down_is_unavailable(method: str) -> None:
    """Where the scan fails nothing was deleted, and the answer says so."""
    async with running("fake") as (node, client):
        node.tiers["store"].backend.faults.always = "after"
        answer = await client.request(method, "/keys?prefix=")
        assert (answer.status_code, answer.json()["outcome"]) == (503, "not-applied")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_prefix_that_no_key_has_is_refused() -> None:
    """A prefix that is longer than a key may be, counted in bytes, is 414."""
    async with running("fake") as (_, client):
        answer = await client.get("/keys", params={"prefix": "é" * 6})
        assert (answer.status_code, answer.json()["type"]) == (414, "/problems/key-too-long")
