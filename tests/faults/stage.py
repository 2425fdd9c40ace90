"""The whole service on real servers: two nodes and two workers on the production profile, each a process that can be killed."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from kvcore.backends import Queue
from kvcore.config import resolve
from kvcore.plugins import load_plugins
from kvcore.testing.nodes import NodeProcess, WorkerProcess
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers, ServerError
from kvcore.testing.servers.process import wait_until

__all__ = ("LONG", "QUEUE_PREFIX", "Restartable", "Stage")

LONG = bool(os.environ.get("FAULTS_LONG"))
"""Whether the tests may take a quarter of an hour: as many writes, and as long without a store, as are promised to be survived."""

QUEUE_PREFIX = "faults"
_WELL_WITHIN_S = 30.0


class Restartable:
    """A node or a worker that listens on the same port when it is started again."""

    def __init__(self, kind: type[NodeProcess], settings: Mapping[str, str], *, table: str) -> None:
        self._kind = kind
        self._settings = dict(settings)
        self.process = kind(settings)
        self._is_running = True
        self._settings[f"{table}.port"] = str(self.process.port)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.url

    def is_alive(self) -> bool:
        """Tell whether it answers."""
        with urllib.request.urlopen(f"{self.url}/health/live", timeout=5) as answer:
            return bool(answer.status == 200)

    def start(self) -> None:
        """Start it, if it does not run."""
        if not self._is_running:
            self.process = self._kind(self._settings)
            self._is_running = True

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self._is_running = False


class Stage:
    """The servers, and the nodes and workers on them.

    Attributes:
        nodes: The API nodes.
        workers: The workers.
        database_name: Their database, which nobody else uses.
        settings: What nodes and workers were started with.
    """

    def __init__(self, redis: RedisServers, rabbit: RabbitCluster, database: Database) -> None:
        self.redis = redis
        self.rabbit = rabbit
        self.database = database
        self.settings = production_settings(redis, rabbit, database, name=QUEUE_PREFIX)
        self.database_name = self.settings["store.cockroach.database"]
        self._plugins = load_plugins()
        self._resolved = resolve(self._plugins, environment={}, flags=self.settings)
        self.nodes: list[Restartable] = []
        self.workers: list[Restartable] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(2):
                self.workers.append(Restartable(WorkerProcess, self.settings, table="worker"))
            for _ in range(2):
                self.nodes.append(Restartable(NodeProcess, self.settings, table="http"))
        except BaseException:  # such as Ctrl-C: half a stage leaves nothing behind either
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def urls(self) -> list[str]:
        """Where the nodes listen."""
        return [node.url for node in self.nodes]

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
        for group in (self.redis, self.rabbit, self.database):
            group.restore()
        for process in (*self.workers, *self.nodes):
            process.start()
        wait_until(self._is_well, within_s=_WELL_WITHIN_S, what="every node finds every tier well")

    def _is_well(self) -> bool:
        for url in self.urls:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                health = json.load(answer)
            if health["status"] != "healthy":
                raise ServerError(f"{url}: {health}")
        return True

    def _end(self) -> None:
        with ExitStack() as ending:
            for process in (*self.workers, *self.nodes):
                ending.callback(process.kill)


def _handled(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("kvcore_mutations_total{"))
