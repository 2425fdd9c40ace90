"""Nodes and workers in processes of their own, for tests of the real thing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from kvcore.testing.servers.reaper import Reaper

__all__ = ("NodeProcess", "WorkerProcess", "running_node", "running_worker")

_READY = " is ready, process "
_HEALTH = re.compile(r"\bhealth +(http\S+)/health\b")
"""What it says in both forms of its log: a line of text, or the message in one of JSON."""


class NodeProcess:
    """`kvctl serve` on a free port of 127.0.0.1, in an empty folder, and never for longer than the process that starts it.

    `url` is set once it is ready; `lines` is what it has said on standard error.
    """

    _command: ClassVar = "serve"
    _listening: ClassVar = {"http.port": "0", "http.host": "127.0.0.1"}

    def __init__(self, settings: Mapping[str, str], *, wait_s: float = 60.0) -> None:
        flags = self._listening | dict(settings)
        command = [sys.executable, "-m", "kvcore.cli", self._command]
        for path, value in flags.items():
            command += ["--set", f"{path}={value}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KVCORE_")}
        self.lines: list[str] = []
        self.url = ""
        self._ready = threading.Event()
        folder = Path(tempfile.mkdtemp(prefix="kvcore-node-")).resolve()
        self._reaper = Reaper(folder)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            ready = self._ready.wait(wait_s)
        except BaseException:  # such as Ctrl-C: nobody else can end the process
            self.kill()
            raise
        if not ready or not self.url:
            self.kill()
            raise RuntimeError(f"kvctl {self._command} did not become ready: {''.join(self.lines)}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end of the process and return its exit code; negative: the signal that ended it."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        self._reaper.close()
        return code

    def stop(self) -> int:
        """End it as an operator would, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.lines.append(line)
                if place := _HEALTH.search(line):
                    self.url = place[1]
                if _READY in line:
                    self._ready.set()
        self._ready.set()


class WorkerProcess(NodeProcess):
    """`kvctl worker`; `url` is where its health and metrics are."""

    _command = "worker"
    _listening: ClassVar = {"worker.port": "0", "worker.host": "127.0.0.1"}


@contextmanager
def running_node(settings: Mapping[str, str], *, wait_s: float = 60.0) -> Iterator[NodeProcess]:
    """Start a node with settings given by path, such as {"store.sqlite.path": …}, and end it afterwards, whatever happened."""
    node = NodeProcess(settings, wait_s=wait_s)
    try:
        yield node
    finally:
        node.kill()


@contextmanager
def running_worker(settings: Mapping[str, str], *, wait_s: float = 60.0) -> Iterator[WorkerProcess]:
    """Start a worker, as `running_node` does a node."""
    worker = WorkerProcess(settings, wait_s=wait_s)
    try:
        yield worker
    finally:
        worker.kill()
