"""Redis with Sentinel: a master, two replicas and three sentinels."""

from __future__ import annotations

import secrets
from pathlib import Path

from kvcore.testing.servers.group import ServerGroup, find_executable, start_together
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerError, ServerProcess, wait_until
from kvcore.testing.servers.resp import RedisReplyError, Reply, ask

__all__ = ("RedisServers",)

_WHOLE_WITHIN_S = 60.0
_REPLICAS = 2
_SENTINELS = 3

_SERVER_CONF = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
masterauth {password}
save ""
appendonly no
maxmemory 100mb
maxmemory-policy volatile-ttl
repl-diskless-sync-delay 0
"""

_SENTINEL_CONF = """\
bind {host}
port {port}
dir {folder}
sentinel monitor {master_name} {host} {master_port} 2
sentinel auth-pass {master_name} {password}
sentinel down-after-milliseconds {master_name} 1000
sentinel failover-timeout {master_name} 5000
sentinel parallel-syncs {master_name} 2
"""


class RedisServers(ServerGroup):
    """A Redis master, two replicas, and three sentinels of which two must agree; a dead master is noticed after one second.

    Nothing is kept on disk: a server that is started again is empty until it has copied the master. `master` and
    `replicas` are what they were at the start; `current_master` tells what they are.

    Attributes:
        master: The first master.
        replicas: The first replicas.
        sentinels: The sentinels, which ask for no password.
        master_name: What the sentinels call the master.
        password: The password of all Redis servers.
    """

    kind = "redis"
    master_name = "kvcore"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(16)
        self.master = self._redis("redis-1", master=None)
        self.replicas = tuple(self._redis(f"redis-{number}", master=self.master) for number in range(2, _REPLICAS + 2))
        self.sentinels = tuple(self._sentinel(f"sentinel-{number}") for number in range(1, _SENTINELS + 1))
        self.processes = (self.master, *self.replicas, *self.sentinels)

    @property
    def version(self) -> str:
        """`Redis` and the number that the master says."""
        return f"Redis {self._info(self.current_master(), 'server')['redis_version']}"

    def launch(self) -> None:  # noqa: D102 - documented by the class above
        for server in (self.master, *self.replicas):  # sentinels look for them when they start
            server.start(wait=False)

    def current_master(self) -> ServerProcess:
        """Return the server that a living sentinel says is the master; the sentinels may need a moment after a failure.

        Raises:
            ServerError: no sentinel answers.
        """
        for sentinel in self.sentinels:
            try:
                reply = ask(sentinel.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
            except (OSError, RedisReplyError):
                continue
            if isinstance(reply, list) and len(reply) == 2:
                return next(one for one in (self.master, *self.replicas) if str(one.port) == reply[1])
        raise ServerError("no sentinel answers")

    def _redis(self, name: str, *, master: ServerProcess | None) -> ServerProcess:
        folder, port = self.folder / name, free_port()
        config = _SERVER_CONF.format(host=HOST, port=port, folder=folder, password=self.password)
        if master is not None:
            config += f"replicaof {master.host} {master.port}\n"
        return ServerProcess(
            name,
            [self._server, _write_config(folder / "redis.conf", config)],
            folder=folder,
            port=port,
            is_ready=lambda: self._ask(port, "PING") == "PONG",
        )

    def _sentinel(self, name: str) -> ServerProcess:
        folder, port = self.folder / name, free_port()
        config = _SENTINEL_CONF.format(
            host=HOST,
            port=port,
            folder=folder,
            master_name=self.master_name,
            master_port=self.master.port,
            password=self.password,
        )
        return ServerProcess(
            name,
            [self._server, _write_config(folder / "sentinel.conf", config), "--sentinel"],
            folder=folder,
            port=port,
            is_ready=lambda: ask(port, "PING") == "PONG",
        )

    def _find_executables(self) -> None:
        self._server = find_executable("redis-server", package="redis-server")

    def _start_processes(self) -> None:
        servers = (self.master, *self.replicas)
        start_together(servers)
        # A sentinel looks for replicas when it starts, and then only every ten seconds.
        wait_until(
            lambda: all(self._is_settled(one) for one in servers), within_s=_WHOLE_WITHIN_S, what="the replicas follow"
        )
        start_together(self.sentinels)

    def _is_settled(self, server: ServerProcess) -> bool:
        info = self._info(server, "replication")
        return info["role"] == "master" or info["master_link_status"] == "up"

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        wait_until(
            self._is_whole,
            within_s=_WHOLE_WITHIN_S,
            what="Redis has one master, linked replicas and agreeing sentinels",
        )

    def _is_whole(self) -> bool:
        master = self.current_master()
        others = [one for one in (self.master, *self.replicas) if one is not master]
        return (
            self._info(master, "replication")["role"] == "master"
            and all(self._follows(other, master) for other in others)
            and all(self._is_content(sentinel, master) for sentinel in self.sentinels)
        )

    def _follows(self, replica: ServerProcess, master: ServerProcess) -> bool:
        info = self._info(replica, "replication")
        if info["role"] == "master":
            # One that was dead while another took its place. The sentinels would tell it too, but only after ten seconds.
            self._ask(replica.port, "REPLICAOF", master.host, str(master.port))
        return info.get("master_port") == str(master.port) and info.get("master_link_status") == "up"

    def _is_content(self, sentinel: ServerProcess, master: ServerProcess) -> bool:
        reply = ask(sentinel.port, "SENTINEL", "MASTER", self.master_name)
        assert isinstance(reply, list)
        state = dict(zip(reply[::2], reply[1::2], strict=True))
        return (
            state["port"] == str(master.port)
            and state["flags"] == "master"
            and state["num-slaves"] == str(_REPLICAS)
            and state["num-other-sentinels"] == str(_SENTINELS - 1)
        )

    def _info(self, server: ServerProcess, section: str) -> dict[str, str]:
        text = self._ask(server.port, "INFO", section)
        return dict(line.split(":", 1) for line in str(text).splitlines() if ":" in line)

    def _ask(self, port: int, *command: str) -> Reply:
        return ask(port, *command, password=self.password)


def _write_config(path: Path, text: str) -> str:
    """Write a file that Redis rewrites when its part changes."""
    path.parent.mkdir()
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)
