"""All processes of the production topology, on free ports of 127.0.0.1 and in one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.testing.production import connection_settings, migrate
from kvcore.testing.servers import (
    MissingServerError,
    NginxProxy,
    RabbitCluster,
    RedisServers,
    ServerError,
    ServerProcess,
    Service,
    database_class,
)
from kvcore.testing.servers.ports import HOST, free_port, is_free
from kvcore.testing.servers.reaper import Reaper
from kvcore.testing.servers.service import SettingValue

__all__ = ("Step", "Topology")

_SETTINGS: Final[dict[str, SettingValue]] = {
    "http.trusted_proxies": [HOST],
    "log.format": "text",  # for people, also where it is written to a file
}


class Step(NamedTuple):
    """A part of the start: what it waits for, and what does it."""

    what: str
    run: Callable[[], None]


class Topology:
    """NGINX, API nodes, workers, Redis with Sentinel, a RabbitMQ cluster, and CockroachDB or else PostgreSQL.

    Enter it to have all of them work together, leave it to have nothing left of them: they are killed, and the folder with their
    data is removed. The same happens when the process that has made it ends, in whatever way.

    The nodes ask for no tokens: nobody but this machine can reach them.

    Args:
        nodes: How many API nodes.
        workers: How many workers.
        folder: Where everything is written: a folder that is empty, or not there. Without it, a temporary one.
        port: Where NGINX listens; without it a free one.
        settings: More of the nodes' and workers' settings, values by path.
        held: Files to keep open until all is removed, such as a lock.

    Attributes:
        kinds: The processes by kind: redis, sentinels, epmd, rabbitmq, database, workers, nodes, nginx. In the order of the start.
        processes: The processes by name, such as node-1.

    Raises:
        MissingServerError: executables are not installed; the message names all of them.
        ServerError: something else listens at the port, or is in the folder.
    """

    def __init__(
        self,
        *,
        nodes: int = 3,
        workers: int = 2,
        folder: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, SettingValue] | None = None,
        held: Collection[int] = (),
    ) -> None:
        self.check_installed()
        if port is not None and not is_free(port):
            raise ServerError(f"something else listens at {HOST}:{port}: name another port, or none")
        self.folder = Path(tempfile.mkdtemp(prefix="kvcore-local-") if folder is None else folder).resolve()
        self.folder.mkdir(exist_ok=True)
        if any(self.folder.iterdir()):
            raise ServerError(f"{self.folder} has something in it, which would be removed: name another folder")
        self.folder.chmod(0o711)  # the database may run as another user; what is secret in it is closed by itself
        self._reaper = Reaper(self.folder, held=held)
        try:
            self._compose(nodes, workers, free_port() if port is None else port, settings or {})
        except BaseException:
            self._reaper.close()
            raise

    def __enter__(self) -> Self:
        try:
            for step in self.steps():
                step.run()
        except BaseException:  # such as Ctrl-C: half a start leaves nothing behind either
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def check_installed() -> None:
        """See that all executables are there.

        Raises:
            MissingServerError: as for the class.
        """
        missing = []
        for kind in (RedisServers, RabbitCluster, database_class(), NginxProxy):
            try:
                kind.check_installed()
            except MissingServerError as error:
                missing.append(str(error))
        if missing:
            raise MissingServerError("\n".join(missing))

    @property
    def urls(self) -> list[str]:
        """Where the nodes are; `proxy.url` is where clients ask."""
        return self.service.urls

    def steps(self) -> tuple[Step, ...]:
        """Return the parts of the start, in their order; all together are what entering does.

        All servers boot at once, since most of that is waiting. Nodes and workers need the database to be migrated, and get along
        without the others for as long as these take.
        """
        return (
            Step("the servers' processes", self._launch),
            Step("Redis with Sentinel", self.redis.start),
            Step("the database", self.database.start),
            Step("the migration of the database", partial(migrate, self.service.config)),
            Step("the processes of workers and nodes", self.service.launch),
            Step("the RabbitMQ cluster", self.rabbit.start),
            Step("workers and nodes", self.service.start),
            Step("NGINX", self.proxy.start),
        )

    def stop(self) -> None:
        """End all, and remove the folder. May be called again."""
        with ExitStack() as ending:  # runs all of it, last first, even if something fails or is interrupted
            for process in self.processes.values():
                ending.callback(process.kill)
            ending.callback(self._reaper.close)  # kills all at once; one by one takes seconds

    def _compose(self, nodes: int, workers: int, port: int, more: Mapping[str, SettingValue]) -> None:
        self.redis = RedisServers(self._folder("redis"))
        self.rabbit = RabbitCluster(self._folder("rabbitmq"))
        self.database = database_class()(self._folder("database"))
        settings = connection_settings(
            self.redis, self.rabbit, self.database, name="kvcore", database_name=self.database.database
        )
        folder = self._folder("kvcore")
        self.service = Service({**settings, **_SETTINGS, **more}, nodes=nodes, workers=workers, folder=folder)
        self.proxy = self._proxy(self._folder("nginx"), port)
        self.kinds: dict[str, tuple[ServerProcess, ...]] = {
            "redis": (self.redis.master, *self.redis.replicas),
            "sentinels": self.redis.sentinels,
            "epmd": self.rabbit.processes[:1],
            "rabbitmq": self.rabbit.nodes,
            "database": self.database.nodes,
            "workers": self.service.workers,
            "nodes": self.service.nodes,
            "nginx": self.proxy.processes,
        }
        self.processes = {process.name: process for kind in self.kinds.values() for process in kind}

    def _proxy(self, folder: Path, port: int) -> NginxProxy:
        proxy = Proxy(
            nodes=tuple(node.address for node in self.service.nodes),
            listen=(f"{HOST}:{port}",),
            access_log=str(folder / "access.log"),
            maintenance_file=str(folder / "maintenance"),
        )
        return NginxProxy(render(proxy), port=port, folder=folder)

    def _launch(self) -> None:
        for group in (self.rabbit, self.redis, self.database):  # what takes longest first
            group.launch()

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder
