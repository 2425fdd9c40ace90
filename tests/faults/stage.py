"""The whole service on real servers: two nodes and two workers on the production profile, each a process that can be killed."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from kvcore.backends import Queue
from kvcore.config import resolve
from kvcore.plugins import load_plugins
from kvcore.testing.production import connection_settings, migrate
from kvcore.testing.servers import Database, RabbitCluster, RedisServers, Service, ServiceProcess

__all__ = ("LONG", "QUEUE_PREFIX", "Stage")

LONG = bool(os.environ.get("FAULTS_LONG"))
"""Whether the tests may take a quarter of an hour: as many writes, and as long without a store, as are promised to be survived."""

QUEUE_PREFIX = "faults"


class Stage:
    """The servers, and the nodes and workers on them.

    Attributes:
        service: The nodes and workers.
        database_name: Their database, which nobody else uses.
    """

    def __init__(self, redis: RedisServers, rabbit: RabbitCluster, database: Database) -> None:
        self.redis = redis
        self.rabbit = rabbit
        self.database = database
        self.database_name = database.create_database()
        settings = connection_settings(redis, rabbit, database, name=QUEUE_PREFIX, database_name=self.database_name)
        self.service = Service(settings, nodes=2, workers=2)
        self._plugins = load_plugins()
        self._resolved = resolve(self._plugins, file=self.service.config, environment={})

    def __enter__(self) -> Self:
        try:
            migrate(self.service.config)
            self.service.start()
        except BaseException:  # such as Ctrl-C: half a stage leaves nothing behind either
            self.service.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.service.stop()

    @property
    def nodes(self) -> tuple[ServiceProcess, ...]:
        """The API nodes."""
        return self.service.nodes

    @property
    def workers(self) -> tuple[ServiceProcess, ...]:
        """The workers."""
        return self.service.workers

    @property
    def urls(self) -> list[str]:
        """Where the nodes listen."""
        return self.service.urls

    def handled(self) -> int:
        """Return how many mutations the workers have been through since they were started."""
        return sum(_handled(worker.url) for worker in self.workers)

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Queue]:
        """Open the queue that nodes and workers use, as one more of its clients."""
        async with self._plugins.choose("queue", "rabbitmq").open(self._resolved.backends["queue"]) as queue:
            yield queue

    def restore(self) -> None:
        """Bring back whatever was killed or paused, and wait until every node finds every tier well."""
        for group in (self.redis, self.rabbit, self.database, self.service):
            group.restore()


def _handled(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("kvcore_mutations_total{"))
