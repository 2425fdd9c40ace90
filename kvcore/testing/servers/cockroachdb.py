"""A CockroachDB cluster of three nodes."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from pathlib import Path

from kvcore.testing.servers.database import Database
from kvcore.testing.servers.group import find_executable, start_together
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerError, ServerProcess, clean_environment, run_tool, wait_until

__all__ = ("CockroachCluster",)

_NODES = 3
_WHOLE_WITHIN_S = 120.0
_MEMORY = "128MiB"


class CockroachCluster(Database):
    """Three CockroachDB nodes without TLS, therefore without passwords; any one may die and nothing is lost."""

    kind = "cockroachdb"
    user = "root"
    password = None

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._is_initialised = False
        self._http_ports = [free_port() for _ in range(_NODES)]
        ports = [free_port() for _ in range(_NODES)]
        self._join = ",".join(f"{HOST}:{port}" for port in ports)
        self.processes = self.nodes = tuple(self._node(index, port) for index, port in enumerate(ports))

    @property
    def version(self) -> str:
        """`CockroachDB` and the version that a living node says."""
        # It says: CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu, built …
        return "CockroachDB " + next(word for word in self.execute("SELECT version()").split() if word.startswith("v"))

    def execute(self, statement: str) -> str:  # noqa: D102 - documented by the class above
        error = ServerError("no node answers")
        for node in self.nodes:
            if not node.is_running or node.is_paused:
                continue
            try:
                # Rows as values separated by tabs, below one line with the names of the columns.
                printed = self._tool("sql", f"--execute={statement}", "--format=tsv", node=node)
            except ServerError as failure:
                error = failure
            else:
                return printed.partition("\n")[2]
        raise error

    def _node(self, index: int, port: int) -> ServerProcess:
        name = f"cockroach-{index + 1}"
        folder = self.folder / name
        http_port = self._http_ports[index]
        command = [self._cockroach, "start", "--insecure", f"--listen-addr={HOST}:{port}", f"--join={self._join}"]
        command += [
            f"--http-addr={HOST}:{http_port}",
            f"--store={folder / 'store'}",
            "--log=sinks: {stderr: {filter: WARNING}}",
        ]
        command += [f"--cache={_MEMORY}", f"--max-sql-memory={_MEMORY}"]
        return ServerProcess(
            name,
            command,
            folder=folder,
            port=port,
            is_ready=lambda: bool(_get(http_port, "/health?ready=1")),
        )

    def _start_processes(self) -> None:
        if not self._is_initialised:
            self.launch()
            wait_until(self._initialise, within_s=_WHOLE_WITHIN_S, what="CockroachDB takes `init`")
            self._is_initialised = True
        start_together(self.nodes)

    def _initialise(self) -> bool:
        try:
            self._tool("init", node=self.nodes[0])
        except ServerError as error:
            if "already been initialized" not in str(error):
                raise
        return True

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        self.execute(f"CREATE DATABASE IF NOT EXISTS {self.database}")
        wait_until(self._is_replicated, within_s=_WHOLE_WITHIN_S, what="each CockroachDB node has a copy of everything")

    def _is_replicated(self) -> bool:
        """Whether each node has a replica of each range: right after `init` the first node has the only one."""
        replicas = {_metric(port, "replicas") for port in self._http_ports}
        missing = sum(_metric(port, "ranges_underreplicated") for port in self._http_ports)
        return len(replicas) == 1 and replicas != {0.0} and not missing

    def _tool(self, command: str, *arguments: str, node: ServerProcess) -> str:
        words = [self._cockroach, command, *arguments, "--insecure", f"--host={node.address}"]
        return run_tool(words, environment=clean_environment(self.folder), folder=self.folder)

    def _find_executables(self) -> None:
        self._cockroach = find_executable("cockroach", package="no package; see cockroachlabs.com/docs")


def _get(http_port: int, path: str) -> str:
    """Read a page of a node.

    Raises:
        OSError: it does not answer.
        ServerError: it does not answer with 200.
    """
    connection = http.client.HTTPConnection(HOST, http_port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise ServerError(f"{path}: {error!r}") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise ServerError(f"{path} answers {answer.status}: {text.strip()}")
    return text


def _metric(http_port: int, name: str) -> float:
    """Return one of a node's metrics, summed over its stores."""
    lines = _get(http_port, "/_status/vars").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
