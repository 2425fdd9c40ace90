"""deploy/compose as an operator starts it, from a copy of the repository, beside whatever else runs on the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from kvcore.testing.servers.ports import free_port
from kvcore.testing.servers.process import wait_until
from tests.compose.engine import Engine

__all__ = ("Stack", "public_images")

_REPOSITORY = Path(__file__).parents[2]
_FOLDERS = ("deploy", "kvcore", "plugins", "scripts", "tests/compose/stand_ins")
_FILES = (".dockerignore", "constraints.txt", "LICENSE", "pyproject.toml", "README.md", "start.sh")
_FILES_OF_COMPOSE = ("docker-compose.yml", "docker-compose.postgresql.yml")
_WITHOUT_GRAFANA = "../../tests/compose/stand_ins/without_grafana.yml"
_GRAFANA = yaml.safe_load((_REPOSITORY / "deploy/compose/docker-compose.yml").read_text())["services"]["grafana"][
    "image"
]
_PROJECT = "kvcore-test"
_TLS_FILES = ("docker-compose.tls.yml", "../../tests/compose/stand_ins/own_authority.yml")
_PORTS = ("KVCORE_PORT", "KVCORE_TLS_PORT", "RABBITMQ_CONSOLE_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
_HEALTHY_WITHIN_S = 120.0


def public_images(compose: Path = _REPOSITORY / "deploy/compose") -> list[str]:
    """Return the images that are not built here, with PostgreSQL as the database and without Grafana."""
    services = [yaml.safe_load((compose / name).read_text())["services"] for name in _FILES_OF_COMPOSE]
    named = {one["image"] for group in services for one in group.values() if "image" in one}
    built_on = (compose / ".env").read_text().partition("PYTHON_IMAGE=")[2].split()[0]
    return sorted({name for name in named if not name.startswith(("kvcore:", "grafana/"))} | {built_on})


class Stack:
    """The whole topology, with PostgreSQL as its database.

    Attributes:
        url: Where NGINX listens.
        tls_url: The same with TLS; nobody but the smoke tests can look its name up.
        said: What the last start has printed on standard output.
    """

    tls_name = "kv.test"

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self.folder = folder
        self.said = ""
        for name in _FOLDERS:
            shutil.copytree(_REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "secrets"))
        for name in _FILES:
            shutil.copy(_REPOSITORY / name, folder)
        ports = {name: str(free_port()) for name in _PORTS}
        self.url = f"http://127.0.0.1:{ports['KVCORE_PORT']}"
        self.tls_url = f"https://{self.tls_name}:{ports['KVCORE_TLS_PORT']}"
        self._files = (*_FILES_OF_COMPOSE, *(() if engine.has(_GRAFANA) else (_WITHOUT_GRAFANA,)))
        self._environment = engine.environment(
            ports
            | {"COMPOSE_PROJECT_NAME": _PROJECT, "KVCORE_NETWORK": "172.30.78", "KVCORE_ADDRESS": "127.0.0.1"}
            | {"KVCORE_TLS_NAME": self.tls_name}
        )

    @property
    def secrets(self) -> Path:
        """The folder of them."""
        return self.folder / "deploy/compose/secrets"

    def production(self, *arguments: str, tls: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `./start.sh production`; with TLS, its certificate and key are in the secrets."""
        files = (*self._files, *_TLS_FILES) if tls else self._files
        return subprocess.run(
            ["./start.sh", "production", *arguments],
            cwd=self.folder,
            env=self._environment | {"COMPOSE_FILE": ":".join(files)},
            check=False,
            capture_output=True,
            text=True,
        )

    def start(self) -> None:
        """Run `./start.sh production`, which ends when its smoke tests have passed; `said` is what it has printed."""
        done = self.production()
        self.said = done.stdout
        assert done.returncode == 0, done.stderr[-4000:]

    def client(self) -> httpx.Client:
        """Return a client that has the token; each request has a connection of its own, so that none is to a dead NGINX."""
        token = (self.secrets / "api_token").read_text().strip()
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "Connection": "close"},
            timeout=15,
            trust_env=False,
        )

    def remains(self, kind: str) -> list[str]:
        """Return the containers, networks or volumes ("ps --all", "network ls", "volume ls") that there are."""
        label = f"label=com.docker.compose.project={_PROJECT}"
        return self._engine.docker(*kind.split(), "--quiet", "--filter", label).split()

    def remove(self) -> None:
        """End it, and remove what it has stored."""
        self.production("down")
        if volumes := self.remains("volume ls"):
            self._engine.docker("volume", "rm", *volumes)

    def container(self, service: str) -> str:
        """Return the id of the first container of a service."""
        labels = {"project": _PROJECT, "service": service, "container-number": "1", "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return self._engine.docker("ps", "--all", "--quiet", *filters)

    def run_in(self, service: str, script: str) -> str:
        """Run a script of the shell in a container and return what it prints."""
        return self._engine.docker("exec", self.container(service), "sh", "-c", script)

    @contextmanager
    def killed(self, *services: str) -> Iterator[None]:
        """Kill containers, and start them again at the end, in the same order; they are healthy then."""
        containers = [self.container(service) for service in services]
        self._engine.docker("kill", *containers)
        try:
            yield
        finally:
            for container in containers:
                self._start_container(container)

    def _start_container(self, container: str) -> None:
        self._engine.docker("start", container)
        wait_until(
            lambda: self._health(container) == "healthy", within_s=_HEALTHY_WITHIN_S, what=f"{container} is healthy"
        )

    def _health(self, container: str) -> str:
        state = json.loads(self._engine.docker("inspect", "--format", "{{json .State}}", container))
        return str(state["Health"]["Status"])
