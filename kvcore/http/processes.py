"""Several processes that serve one port: started, watched, and stopped together.

Each is a node of its own, with its own connections to the servers; they share the listening socket, and no state. The
process that starts them serves nothing. It passes on the signals that it gets, and starts anew whatever ends by itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from kvcore.errors import KvcoreError

__all__ = ("Sibling", "run_processes")

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_PAUSE_S: Final = 1.0
"""Between the end of a process and the start of the next one in its place."""


class Sibling(msgspec.Struct, frozen=True):
    """One of `count` processes on a port.

    `folder` is for these processes alone, and its owner. `lifeline` is at its end when the process that has started them is
    no more. `all_stop` tells whether that is so, or all are told to stop: not only this one.
    """

    number: int
    count: int
    folder: Path
    lifeline: int
    is_ready: Callable[[], None]
    all_stop: Callable[[], bool]


def run_processes(
    listener: socket.socket, count: int, run: Callable[[Sibling], None], ready: Callable[[], None]
) -> None:
    """Run `count` processes, each of which calls `run`, until a signal ends them; call `ready` when all are ready once.

    They share `listener`, which is closed here when they are told to stop: the last of them to close it closes the port.

    Raises:
        KvcoreError: one of them has ended with an error before all were ready, and has said why.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvcore-")))
        parent = stack.enter_context(_Parent(listener, count, run, ready, folder))
        parent.watch()


class _Child:
    """A process, and the pipe by which it says that it is ready."""

    def __init__(self, process: BaseProcess, told: connection.Connection) -> None:
        self.process = process
        self.told = told
        self.is_ready = False


class _Parent:
    def __init__(
        self,
        listener: socket.socket,
        count: int,
        run: Callable[[Sibling], None],
        ready: Callable[[], None],
        folder: Path,
    ) -> None:
        self._listener = listener
        self._count = count
        self._run = run
        self._ready = ready
        self._folder = folder
        self._fork = multiprocessing.get_context("fork")
        self._children: dict[int, _Child] = {}
        self._restarts: dict[int, float] = {}
        self._were_ready = False
        self._stopping = False
        self._held, self._lifeline = connection.Pipe(duplex=False)
        self._on, self._goes_on = connection.Pipe(duplex=False)  # at its end when all are to stop
        self._woken, self._wakes = connection.Pipe(duplex=False)

    def __enter__(self) -> _Parent:
        os.set_blocking(self._wakes.fileno(), False)
        # Signals come while it waits, and at no other time. One in the midst of a fork would find a child that is not known yet, or one
        # that takes itself for the parent, and would be lost.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        self._woke = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._lifeline.close()  # whatever is left stops by itself
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for child in self._children.values():
            child.process.join()
        signal.set_wakeup_fd(self._woke)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self) -> None:
        """Start the processes, and return when all have ended after a signal."""
        for number in range(self._count):
            self._start(number)
        while self._children or self._restarts:
            self._wait()
            for number, child in list(self._children.items()):
                self._look_at(number, child)
            now = time.monotonic()
            for number in [number for number, at in self._restarts.items() if at <= now]:
                del self._restarts[number]
                self._start(number)

    def _wait(self) -> None:
        """Return when something has happened, or is due."""
        pipes = [child.told for child in self._children.values() if not child.is_ready]
        ends = [child.process.sentinel for child in self._children.values()]
        due = min(self._restarts.values(), default=None)
        patience_s = None if due is None else max(0.0, due - time.monotonic())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            happened = connection.wait([*pipes, *ends, self._woken], patience_s)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if self._woken in happened:
            os.read(self._woken.fileno(), 4096)

    def _look_at(self, number: int, child: _Child) -> None:
        if not child.is_ready and child.told.poll():
            self._take_note(child)
        if child.process.is_alive():
            return
        child.process.join()
        child.told.close()
        del self._children[number]
        if self._stopping:
            return
        code = child.process.exitcode
        if not self._were_ready:
            self._stop(signal.SIGTERM)
            raise KvcoreError(f"process {child.process.pid} has ended with {code} before it was ready; see above")
        logger.error("process %s has ended with %s; another one is started in its place", child.process.pid, code)
        self._restarts[number] = time.monotonic() + _PAUSE_S

    def _take_note(self, child: _Child) -> None:
        try:
            child.told.recv_bytes()
        except EOFError:
            return  # it has ended instead
        child.is_ready = True
        if not self._were_ready and all(one.is_ready for one in self._children.values()):
            self._were_ready = True
            self._ready()

    def _start(self, number: int) -> None:
        told, tells = connection.Pipe(duplex=False)
        process = self._fork.Process(target=self._in_child, args=(number, tells), name=f"kvcore-{number}")
        process.start()
        tells.close()
        self._children[number] = _Child(process, told)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop(signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        self._stopping = True
        self._restarts.clear()
        self._listener.close()
        self._goes_on.close()  # before the signals, so that whoever gets one knows
        for child in self._children.values():
            if child.process.pid is not None and child.process.is_alive():
                os.kill(child.process.pid, number)

    def _in_child(self, number: int, tells: connection.Connection) -> None:
        """Be a process: nothing of the parent's is used but the end of its lifeline."""
        signal.set_wakeup_fd(-1)
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.setpgrp()  # the terminal's Ctrl-C goes to the parent, who passes it on
        self._lifeline.close()
        self._goes_on.close()
        for child in self._children.values():
            child.told.close()
        sibling = Sibling(
            number, self._count, self._folder, self._held.fileno(), lambda: tells.send_bytes(b"ready"), self._on.poll
        )
        try:
            self._run(sibling)
        except KvcoreError as error:
            print(f"kvctl: {error}", file=sys.stderr, flush=True)  # noqa: T201 - as the command line says it
            raise SystemExit(1) from None
        finally:
            if self._held.poll():  # the parent is no more, or waits for the end of all
                shutil.rmtree(self._folder, ignore_errors=True)
