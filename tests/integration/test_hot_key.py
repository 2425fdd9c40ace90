"""A key that becomes hot, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kvcore.config import resolve
from kvcore.model import Entry
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore_store_cockroach import CockroachStore


@pytest.fixture(scope="module")
def settings(redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database) -> dict[str, str]:
    """Give settings that lead to an empty place."""
    return production_settings(redis_servers, rabbitmq_cluster, database, name="hot")


async def test_a_thousand_readers_of_one_missing_key_cost_the_database_one_read(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers on two nodes who miss a key at the same time wait for the one who has the lease."""
    asked: list[str] = []
    get = CockroachStore.get

    async def counted(store: CockroachStore, keys: Sequence[str]) -> Sequence[Entry | None]:
        asked.extend(keys)
        return await get(store, keys)

    monkeypatch.setattr(CockroachStore, "get", counted)
    plugins = load_plugins()
    resolved = resolve(plugins, environment={}, flags=settings)
    async with open_node(resolved, plugins) as one, open_node(resolved, plugins) as two:
        await asyncio.gather(one.service.get("warm"), two.service.get("warm"))
        asked.clear()
        found = await asyncio.gather(*((one, two)[n % 2].service.get("hot") for n in range(1000)))
    assert all(answer.entry is None for answer in found)
    assert asked == ["hot"]
