"""Servers that belong together: started at once, brought back after a fault, ended with their folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from kvcore.testing.servers.process import ServerProcess
from kvcore.testing.servers.reaper import Reaper

__all__ = ("MissingServerError", "ServerGroup", "find_executable", "start_together")


class MissingServerError(Exception):
    """An executable is not there; the message says what to install."""


def find_executable(name: str, *, package: str, first: str = "", last: str = "") -> str:
    """Return the path of an executable: of the first found in the folders `first`, PATH and `last`, separated by colons.

    Raises:
        MissingServerError: it is nowhere.
    """
    places = os.pathsep.join(place for place in (first, os.environ.get("PATH", os.defpath), last) if place)
    found = shutil.which(name, path=places)
    if found is None:
        raise MissingServerError(f"{name} is not installed (Debian: apt install {package})")
    return found


def start_together(processes: Iterable[ServerProcess]) -> None:
    """Start those that do not run, at once, and wait until each is ready.

    Raises:
        ServerError: one did not become ready in time.
    """
    processes = tuple(processes)
    for process in processes:
        process.start(wait=False)
    for process in processes:
        process.wait_until_ready()


class ServerGroup(ABC):
    """Private servers of one kind. Enter it to have them ready, leave it to have nothing left of them.

    Args:
        folder: Where they write all that they write. Without it they get a temporary folder, which is removed when
            they are stopped; a given one is left.

    Attributes:
        kind: What it is, such as "redis".
        folder: Where they write.
        processes: All of them, in the order in which they are started.

    Raises:
        MissingServerError: an executable is not installed.
    """

    kind: ClassVar[str]
    folder: Path
    processes: tuple[ServerProcess, ...]

    def __init__(self, folder: Path | None = None) -> None:
        self._find_executables()
        self._reaper: Reaper | None = None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix=f"kvcore-{self.kind}-")).resolve()
            self._reaper = Reaper(folder)
            # A server may run as another user than who has made the folder. What is secret in it is closed by itself.
            folder.chmod(0o711)
        self.folder = folder
        self.processes = ()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # such as Ctrl-C: half a start leaves nothing behind either
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @classmethod
    def check_installed(cls) -> None:
        """See that all executables are there, and make nothing.

        Raises:
            MissingServerError: one is not installed.
        """
        cls._find_executables(cls.__new__(cls))  # in an object that is nothing else: it only notes where they are

    @property
    @abstractmethod
    def version(self) -> str:
        """Name and version of the server, such as `Redis 7.0.15`, as a living one says it."""

    def launch(self) -> None:
        """Start what needs to wait for nothing, and return. So several groups can come up at once, with `start` after it.

        Raises:
            ServerError: one could not be prepared.
        """
        for process in self.processes:
            process.start(wait=False)

    def start(self) -> None:
        """Start all and wait until they work together; those that run are left alone.

        Raises:
            ServerError: one did not become ready in time.
        """
        self._start_processes()
        self.wait_until_whole()

    @abstractmethod
    def wait_until_whole(self) -> None:
        """Wait, when each is ready, until they work together; start nothing.

        Raises:
            ServerError: that did not happen in time.
        """

    def restore(self) -> None:
        """Undo what was done to them: resume the paused ones, start the dead ones, wait until they work together.

        Raises:
            ServerError: one did not become ready in time.
        """
        for process in self.processes:
            process.resume()
        self.start()

    def stop(self) -> None:
        """End all, the last started first. May be called again.

        In a given folder they end in good order. With a temporary one, of which nothing will be read again, they are killed.
        """
        with ExitStack() as ending:  # runs all of it, last first, even if something fails or is interrupted
            if self._reaper is not None:
                ending.callback(self._reaper.close)
            for process in self.processes:
                ending.callback(process.kill if self._reaper is not None else process.stop)

    def _start_processes(self) -> None:
        """Start all and wait until each is ready by itself.

        Raises:
            ServerError: one did not become ready in time.
        """
        self.launch()
        start_together(self.processes)

    @abstractmethod
    def _find_executables(self) -> None:
        """Find them all, before anything is made.

        Raises:
            MissingServerError: one is not installed.
        """
