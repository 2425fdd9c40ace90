"""A RabbitMQ cluster of three nodes."""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kvcore.testing.servers.group import ServerGroup, find_executable
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerError, ServerProcess, clean_environment, run_tool, wait_until

__all__ = ("RabbitCluster",)

T = TypeVar("T")

_NODES = 3
_ANSWERS_WITHIN_S = 1.0
_WHOLE_WITHIN_S = 60.0
_HEALS_WITHIN_S = 25.0
_SILENT_FOR_S = 10
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"

_CONF = """\
default_user = {username}
default_pass = {password}
cluster_formation.peer_discovery_backend = classic_config
{peers}
cluster_partition_handling = autoheal
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 10MB
log.console = true
log.console.level = warning
log.console.use_colors = off
log.file = false
"""

# What Debian has on PATH is a wrapper, which only works for root and the user "rabbitmq", and only in /var/lib/rabbitmq.
_DEBIAN = "/usr/lib/rabbitmq/bin"


class RabbitCluster(ServerGroup):
    """Three RabbitMQ nodes on disk. One that is silent for about ten seconds counts as gone.

    When it then speaks again, the cluster takes itself for partitioned, and `autoheal` has the losing side start anew. With
    `pause_minority`, a node that was paused for so long stays outside until it is started again.

    Attributes:
        nodes: The nodes.
        names: What Erlang calls them, in the same order, such as "kvcore-1@localhost".
        username: Who may do everything in the virtual host "/".
        password: The user's password.
    """

    kind = "rabbitmq"
    username = "kvcore"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(16)
        self._epmd_port = free_port()
        self._epmd = self._port_mapper()
        self.names = tuple(f"kvcore-{number}@localhost" for number in range(1, _NODES + 1))
        self._write_shared_files()
        self.nodes = tuple(self._node(number, name) for number, name in enumerate(self.names, 1))
        self.processes = (self._epmd, *self.nodes)

    @property
    def hosts(self) -> list[str]:
        """Where the nodes listen, such as ["127.0.0.1:5672"]."""
        return [node.address for node in self.nodes]

    @property
    def version(self) -> str:
        """`RabbitMQ` and the number with which a living node greets."""
        # Among the properties of the server there is `version`, followed by a string with a length of four bytes.
        found = re.search(
            rb"\x07versionS\x00\x00\x00.([0-9][\w.+-]*)", self._ask_living(lambda node: _greeting(node.port))
        )
        return f"RabbitMQ {found[1].decode()}" if found else "RabbitMQ"

    def launch(self) -> None:  # noqa: D102 - documented by the class above
        self._epmd.start()
        super().launch()

    def restore(self) -> None:
        """Undo what was done to them, as for all groups; nodes that do not find together by themselves are killed and started.

        Raises:
            ServerError: one did not become ready in time.
        """
        for process in self.processes:
            process.resume()
        self._epmd.start()
        for node in self.nodes:
            node.start(wait=False)
        try:
            wait_until(self._is_whole, within_s=_HEALS_WITHIN_S, what="the RabbitMQ nodes are one cluster")
        except ServerError:
            # Once in a while a node that was paused stays outside, whatever the partition handling.
            for node in self.nodes:
                node.kill()
            self.start()

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on a living node and return what it prints; takes a second or two.

        Raises:
            ServerError: no node is there, or it has failed; the message has what it said.
        """
        return self._ask_living(lambda node: self._run_ctl(self.name_of(node), *arguments))

    def queue_leader(self, queue: str) -> ServerProcess:
        """Return the node that has the leader of a quorum queue in the virtual host "/".

        Raises:
            ServerError: there is no such queue, or it has no leader.
        """
        for line in self.ctl("list_queues", "--quiet", "--no-table-headers", "name", "leader").splitlines():
            name, _, leader = line.partition("\t")
            if name == queue and leader in self.names:
                return self.nodes[self.names.index(leader)]
        raise ServerError(f"no leader of {queue!r} is known")

    def name_of(self, node: ServerProcess) -> str:
        """Return what Erlang calls a node, such as "kvcore-1@localhost"."""
        return self.names[self.nodes.index(node)]

    def _ask_living(self, question: Callable[[ServerProcess], T]) -> T:
        error: Exception = ServerError("no RabbitMQ node is there")
        for node in self.nodes:
            if node.is_running and not node.is_paused:
                try:
                    return question(node)
                except (OSError, ServerError) as failure:
                    error = failure
        raise ServerError(str(error)) from error

    def _run_ctl(self, name: str, *arguments: str) -> str:
        command = [self._rabbitmqctl, f"--node={name}", *arguments]
        return run_tool(
            command, environment=clean_environment(self.folder) | self._shared_environment, folder=self.folder
        )

    def _port_mapper(self) -> ServerProcess:
        """Erlang's epmd, which tells nodes each other's ports."""
        return ServerProcess(
            "epmd",
            [self._epmd_path, "-address", HOST, "-port", str(self._epmd_port)],
            folder=self.folder,
            port=self._epmd_port,
            is_ready=lambda: _accepts(self._epmd_port),
        )

    def _node(self, number: int, erlang_name: str) -> ServerProcess:
        name, port = f"rabbitmq-{number}", free_port()
        folder = self.folder / name
        environment = self._shared_environment | {
            "RABBITMQ_NODENAME": erlang_name,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self._config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._plugins),
            # One scheduler, since many servers share the machine.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 1:1 -kernel net_ticktime {_SILENT_FOR_S} {_LOOPBACK}",
            # The script then turns into the server, instead of waiting for it: the process is the one to kill.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        return ServerProcess(
            name,
            [self._server],
            folder=folder,
            port=port,
            is_ready=lambda: _greeting(port).startswith(b"\x01"),
            environment=environment,
            start_within_s=120,
        )

    @property
    def _shared_environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # where Erlang looks for the cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_ZFLAGS": "-start_epmd false",  # where epmd was killed, a node or tool would start one that outlives it
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),  # not there; else /etc would be asked
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any that is free, not some from 35672 on
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        }

    def _write_shared_files(self) -> None:
        peers = (
            f"cluster_formation.classic_config.nodes.{number} = {name}" for number, name in enumerate(self.names, 1)
        )
        self._config = self.folder / "rabbitmq.conf"
        self._config.touch(mode=0o600)
        self._config.write_text(_CONF.format(username=self.username, password=self.password, peers="\n".join(peers)))
        self._plugins = self.folder / "enabled_plugins"
        self._plugins.write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        wait_until(self._is_whole, within_s=_WHOLE_WITHIN_S, what="the RabbitMQ nodes are one cluster")

    def _is_whole(self) -> bool:
        status = json.loads(self.ctl("cluster_status", "--quiet", "--formatter", "json", "--timeout", "10"))
        return (
            set(status["running_nodes"]) == set(self.names)
            and not status["partitions"]
            and all(_greeting(node.port) for node in self.nodes)
        )

    def _find_executables(self) -> None:
        self._server, self._rabbitmqctl = (
            find_executable(name, package="rabbitmq-server", first=_DEBIAN)
            for name in ("rabbitmq-server", "rabbitmqctl")
        )
        self._epmd_path = find_executable("epmd", package="erlang-base")


def _greeting(port: int) -> bytes:
    """Return what a node answers to a client that speaks AMQP 0-9-1; a node that has paused itself does not listen.

    Raises:
        OSError: it does not answer.
    """
    with socket.create_connection((HOST, port), timeout=_ANSWERS_WITHIN_S) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(4096)


def _accepts(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=_ANSWERS_WITHIN_S):
        return True
