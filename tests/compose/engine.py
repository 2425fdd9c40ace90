"""A Docker engine for the tests: the one that answers, else one of their own, of which nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kvcore.testing.servers.process import ServerError, wait_until

__all__ = ("Engine", "MissingEngineError", "engine")

_STARTED_WITHIN_S = 60.0
_ENDED_WITHIN_S = 60.0
_NEEDED = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "debootstrap": "debootstrap",
}
"""Executables, and Debian's packages of them."""


class MissingEngineError(Exception):
    """No engine can be had here; the message says what is missing."""


class Engine:
    """A Docker engine that answers.

    Attributes:
        is_own: Whether it was started for these tests, and can pull nothing.
    """

    def __init__(self, *, is_own: bool, socket: Path | None = None) -> None:
        self.is_own = is_own
        self._environment = {**os.environ, **({"DOCKER_HOST": f"unix://{socket}"} if socket else {})}

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which commands reach it."""
        return {**self._environment, **more}

    def docker(self, *arguments: str) -> str:
        """Run `docker` and return what it prints.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        return subprocess.run(
            ["docker", *arguments], env=self._environment, check=True, text=True, stdout=subprocess.PIPE
        ).stdout.strip()

    def has(self, image: str) -> bool:
        """Whether it has an image, or can pull it."""
        return self._succeeds("image", "inspect", image) or (not self.is_own and self._succeeds("pull", image))

    def answers(self) -> bool:
        """Whether it is there."""
        return self._succeeds("version")

    def _succeeds(self, *arguments: str) -> bool:
        return not subprocess.run(
            ["docker", *arguments], env=self._environment, check=False, capture_output=True
        ).returncode


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Give an engine; one of its own keeps everything below `folder`, and gives the network back as it was.

    Raises:
        MissingEngineError: none answers, and none can be started.
    """
    there = Engine(is_own=False)
    if shutil.which("docker") and there.answers():
        yield there
        return
    if missing := [package for name, package in _NEEDED.items() if shutil.which(name) is None]:
        raise MissingEngineError(
            f"no Docker engine answers, and to start one needs: apt install {' '.join(sorted(set(missing)))}"
        )
    if os.geteuid() != 0:
        raise MissingEngineError("no Docker engine answers, and only root can start one")
    with _network_as_it_was(), _daemon(folder) as own:
        yield own


@contextmanager
def _daemon(folder: Path) -> Iterator[Engine]:
    socket = folder / "docker.sock"
    command = ["dockerd", f"--host=unix://{socket}", f"--pidfile={folder / 'pid'}"]
    command += [f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        own = Engine(is_own=True, socket=socket)
        try:
            wait_until(own.answers, within_s=_STARTED_WITHIN_S, what="the engine answers")
        except ServerError as error:
            raise MissingEngineError(f"dockerd does not start: {(folder / 'log').read_text()[-2000:]}") from error
        yield own
    finally:
        process.terminate()
        process.wait(_ENDED_WITHIN_S)
        shutil.rmtree(folder / "data", ignore_errors=True)  # some GB; what cannot be removed, pytest tries again


@contextmanager
def _network_as_it_was() -> Iterator[None]:
    """Undo what dockerd does to the machine's network, and leaves when it ends: rules, a bridge, forwarding."""
    bridge, forwarding = Path("/sys/class/net/docker0"), Path("/proc/sys/net/ipv4/ip_forward")
    had_bridge, had_forwarding = bridge.exists(), forwarding.read_text()
    for table in ("filter", "nat"):
        subprocess.run(
            ["iptables", "--table", table, "--list-rules"], check=True, capture_output=True
        )  # makes it save them
    rules = subprocess.run(["iptables-save"], check=True, capture_output=True).stdout
    try:
        yield
    finally:
        subprocess.run(["iptables-restore"], input=rules, check=True)
        if bridge.exists() and not had_bridge:
            subprocess.run(["ip", "link", "delete", "docker0"], check=True)
        forwarding.write_text(had_forwarding)
