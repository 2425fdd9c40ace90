"""The service itself: API nodes and workers, each in a process of its own, on servers that are there."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal

from kvcore import __version__
from kvcore.testing.servers.group import ServerGroup
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerError, ServerProcess, wait_until

__all__ = ("Service", "ServiceProcess", "SettingValue")

SettingValue = str | bool | int | float | Sequence[str]
"""A setting as TOML has it: text is text, whatever it looks like."""

_ANSWERS_WITHIN_S: Final = 2.0
_WELL_WITHIN_S: Final = 30.0
_COMMANDS: Final = {"node": "serve", "worker": "worker"}


class ServiceProcess(ServerProcess):
    """A node or a worker: `kvctl serve` or `kvctl worker`, with settings from a file.

    It is ready when /health/ready says so. SIGTERM makes it drain and end, as a deployment does.
    """

    def __init__(self, kind: Literal["node", "worker"], number: int, *, config: Path) -> None:
        name, port = f"{kind}-{number}", free_port()
        # -P: it runs in a folder of its own, where no module is to be looked for.
        command = [sys.executable, "-P", "-m", "kvcore.cli", _COMMANDS[kind], f"--config={config}", f"--port={port}"]
        super().__init__(
            name,
            command,
            folder=config.parent / name,
            port=port,
            is_ready=lambda: _get(port, "/health/ready").status == HTTPStatus.OK,
        )

    @property
    def url(self) -> str:
        """Where it is, such as http://127.0.0.1:8000."""
        return f"http://{self.address}"


class Service(ServerGroup):
    """API nodes and workers with the same settings, which stand in a file that only their user can read: there are passwords in it.

    They listen on 127.0.0.1, each on a port of its own, which it keeps when it is started again. They are whole when every
    node finds every tier well.

    Args:
        settings: Values by path, such as {"profile": "memory"}. Where they listen is not among them.
        nodes: How many API nodes.
        workers: How many workers; they need a queue, a cache and a store that other processes can use.
        folder: As for all groups.

    Attributes:
        nodes: The API nodes.
        workers: The workers.
        config: The file with the settings, for `kvctl --config` too.
    """

    kind = "kvcore"

    def __init__(
        self, settings: Mapping[str, SettingValue], *, nodes: int = 1, workers: int = 0, folder: Path | None = None
    ) -> None:
        super().__init__(folder)
        self.config = self.folder / "kvcore.toml"
        self.config.touch(mode=0o600)
        self.config.write_text(_toml({"http.host": HOST, "worker.host": HOST, **settings}), encoding="utf-8")
        self.nodes = tuple(ServiceProcess("node", number, config=self.config) for number in range(1, nodes + 1))
        self.workers = tuple(ServiceProcess("worker", number, config=self.config) for number in range(1, workers + 1))
        self.processes = (*self.workers, *self.nodes)

    @property
    def version(self) -> str:
        """`kvcore` and its number."""
        return f"kvcore {__version__}"

    @property
    def urls(self) -> list[str]:
        """Where the nodes are, such as ["http://127.0.0.1:8000"]."""
        return [node.url for node in self.nodes]

    def _find_executables(self) -> None:
        """It is the interpreter that runs this."""

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        wait_until(self._is_well, within_s=_WELL_WITHIN_S, what="every node finds every tier well")

    def _is_well(self) -> bool:
        for node in self.nodes:
            health = _get(node.port, "/health").text
            if json.loads(health)["status"] != "healthy":
                raise ServerError(f"{node.name}: {health}")
        return True


class _Answer:
    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


def _get(port: int, path: str) -> _Answer:
    """Read a page of a node or worker.

    Raises:
        OSError: it does not answer.
        ServerError: what it answers is not HTTP.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWERS_WITHIN_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return _Answer(answer.status, answer.read().decode())
    except http.client.HTTPException as error:
        raise ServerError(f"{path}: {error!r}") from error
    finally:
        connection.close()


def _toml(settings: Mapping[str, SettingValue]) -> str:
    """Return settings as TOML, with a dotted name for each: JSON's notation is TOML's, but for DEL, which TOML wants escaped."""
    lines = (f"{path} = {json.dumps(value, ensure_ascii=False)}\n" for path, value in settings.items())
    return "".join(lines).replace("\x7f", "\\u007f")
