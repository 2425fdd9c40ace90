"""The production profile on private servers: its settings, and its database made ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from kvcore.config import resolve
from kvcore.plugins import load_plugins
from kvcore.testing.servers import Database, RabbitCluster, RedisServers

__all__ = ("production_settings",)


def production_settings(redis: RedisServers, rabbit: RabbitCluster, database: Database, *, name: str) -> dict[str, str]:
    """Return settings by path for nodes and workers on these servers, with a new database, which is migrated.

    `name` is the namespace in Redis and the prefix of the queues: who gives another one shares nothing.
    """
    settings = {
        "profile": "production",
        "http.host": "127.0.0.1",  # beyond which a node wants tokens
        "cache.redis.sentinels": _list(sentinel.address for sentinel in redis.sentinels),
        "cache.redis.master_name": redis.master_name,
        "cache.redis.password": redis.password,
        "cache.redis.namespace": name,
        "queue.rabbitmq.hosts": _list(rabbit.hosts),
        "queue.rabbitmq.username": rabbit.username,
        "queue.rabbitmq.password": rabbit.password,
        "queue.rabbitmq.prefix": name,
        "store.cockroach.hosts": _list(database.hosts),
        "store.cockroach.username": database.user,
        "store.cockroach.database": database.create_database(),
    }
    if database.password is not None:
        settings["store.cockroach.password"] = database.password
    _migrate(settings)
    return settings


def _migrate(settings: dict[str, str]) -> None:
    plugins = load_plugins()
    resolved = resolve(plugins, environment={}, flags=settings)
    migrate = plugins.choose("store", resolved.settings.store.backend).migrate
    if migrate is not None:
        asyncio.run(migrate(resolved.backends["store"]))


def _list(items: Iterable[str]) -> str:
    return json.dumps(list(items))
