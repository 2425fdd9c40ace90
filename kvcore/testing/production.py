"""The production profile on private servers: its settings, and its database made ready."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from kvcore.config import Resolved, resolve
from kvcore.plugins import Plugins, load_plugins
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore.testing.servers.service import SettingValue

__all__ = ("connection_settings", "migrate", "production_settings")

_NO_FILE = Path(os.devnull)
"""Read instead of a kvcore.toml that may lie in the current folder."""


def connection_settings(
    redis: RedisServers, rabbit: RabbitCluster, database: Database, *, name: str, database_name: str
) -> dict[str, SettingValue]:
    """Return settings by path, as a file has them, of the production profile on these servers, which need not run yet.

    `name` is the namespace in Redis and the prefix of the queues: who gives another one, and another database, shares nothing.
    """
    settings: dict[str, SettingValue] = {
        "profile": "production",
        "cache.redis.sentinels": [sentinel.address for sentinel in redis.sentinels],
        "cache.redis.master_name": redis.master_name,
        "cache.redis.password": redis.password,
        "cache.redis.namespace": name,
        "queue.rabbitmq.hosts": rabbit.hosts,
        "queue.rabbitmq.username": rabbit.username,
        "queue.rabbitmq.password": rabbit.password,
        "queue.rabbitmq.prefix": name,
        "store.cockroach.hosts": database.hosts,
        "store.cockroach.username": database.user,
        "store.cockroach.database": database_name,
    }
    if database.password is not None:
        settings["store.cockroach.password"] = database.password
    return settings


def production_settings(redis: RedisServers, rabbit: RabbitCluster, database: Database, *, name: str) -> dict[str, str]:
    """Return settings by path, as flags have them, for nodes and workers on these servers, with a new database, which is migrated."""
    given = connection_settings(redis, rabbit, database, name=name, database_name=database.create_database())
    settings = {path: value if isinstance(value, str) else json.dumps(value) for path, value in given.items()}
    settings["http.host"] = "127.0.0.1"  # beyond which a node wants tokens
    plugins = load_plugins()
    _migrate(plugins, resolve(plugins, file=_NO_FILE, environment={}, flags=settings))
    return settings


def migrate(config: Path) -> None:
    """Bring the database that a file of settings names to what this version needs, as `kvctl store migrate` does."""
    plugins = load_plugins()
    _migrate(plugins, resolve(plugins, file=config, environment={}))


def _migrate(plugins: Plugins, resolved: Resolved) -> None:
    migration = plugins.choose("store", resolved.settings.store.backend).migrate
    if migration is not None:
        asyncio.run(migration(resolved.backends["store"]))
