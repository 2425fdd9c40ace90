"""The process that owns all others: it starts them, does what commands ask for, and ends them when it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import typer

from deploy.local.control import Request, serving
from deploy.local.following import LOOKS_EVERY_S, LogFollower, labelled
from deploy.local.place import claimed
from deploy.local.progress import Say, note, waiting_for
from deploy.local.roster import Roster
from deploy.local.status import Status
from deploy.local.topology import Topology

__all__ = ("SHOWN", "is_coloured", "supervise")

SHOWN: Final = ("nodes", "workers", "nginx")
"""The kinds of processes whose logs are shown where none are named: those that are kvcore's own, and what is before them."""
_INTERRUPTED: Final = 130

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(folder: Path, *, nodes: int, workers: int, port: int | None, ready: Callable[[Status], bool]) -> int:
    """Run a topology in a folder until a signal or `down` ends it, and return the exit code.

    `ready` is called when all work together, and tells whether to show logs then.

    Raises:
        MissingServerError: executables are not installed.
        PlaceError: the folder cannot be used.
        ServerError: something did not start, or listens at the port.
    """
    with _interruptible() as interruptible, claimed(folder) as lock:
        topology = Topology(nodes=nodes, workers=workers, folder=folder, port=port, held=(lock,))
        supervisor = _Supervisor(topology)
        try:
            with interruptible(), serving(folder, supervisor.answer):
                supervisor.start()
                supervisor.watch(shows_logs=ready(supervisor.status()))
        except KeyboardInterrupt:
            pass  # what it was to be ended by
        finally:
            supervisor.end()
        return 0 if supervisor.is_started else _INTERRUPTED


class _Supervisor:
    """A topology, and what is done with it. `is_started`: whether all have worked together once."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._roster = Roster(topology)
        self.is_started = False

    def status(self) -> Status:
        topology = self._topology
        return Status(
            folder=str(topology.folder),
            url=topology.proxy.url,
            supervisor=os.getpid(),
            config=str(topology.service.config),
            processes=self._roster.entries(),
        )

    def answer(self, request: Request, say: Say) -> Any:
        roster = self._roster
        match request.do:
            case "status":
                return self.status()
            case "down":
                os.kill(os.getpid(), signal.SIGTERM)
                return os.getpid()
            case "kill":
                roster.kill(request.names, say)
            case "pause":
                roster.pause(request.names, say)
            case "resume":
                roster.resume(request.names, say)
            case "restart":
                roster.restart(request.names, say)
        return None

    def start(self) -> None:
        note(f"starting {len(self._topology.processes)} processes in {self._topology.folder}")
        for step in self._topology.steps():
            with waiting_for(step.what):
                step.run()
        self.is_started = True

    def watch(self, *, shows_logs: bool) -> None:
        """Show logs, and what becomes of processes, until a signal comes."""
        shown = [entry for entry in self._roster.entries() if shows_logs and entry.kind in SHOWN]
        follower = LogFollower({entry.name: Path(entry.log) for entry in shown}, coloured=is_coloured())
        follower.skip()
        before = self._roster.states()
        while True:
            states = self._roster.states()
            changed = [
                labelled("local", f"{name}: {states[name]}", width=8) for name in states if states[name] != before[name]
            ]
            for line in (*follower.lines(), *changed):
                typer.echo(line)
            before = states
            time.sleep(LOOKS_EVERY_S)  # between two looks: neither a file nor a process tells of a change

    def end(self) -> None:
        self._roster.close()
        with waiting_for(f"ending {len(self._topology.processes)} processes, and removing their data"):
            self._topology.stop()


def is_coloured() -> bool:
    """Tell whether what is printed may have colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


@contextmanager
def _interruptible() -> Iterator[Callable[[], Any]]:
    """Let signals raise KeyboardInterrupt only within what is given, and be ignored after the first one."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)  # what it begins, nothing is to disturb
        raise KeyboardInterrupt

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, interrupt)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    @contextmanager
    def allowed() -> Iterator[None]:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    yield allowed
