"""How far a transfer is, on stderr: a bar on a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kvcore.cli._output import note

__all__ = ("Meter",)

_DRAW_S: Final = 0.1
_LINE_S: Final = 10.0


class Meter:
    """Shows how many keys are done, how fast, and where it is known how many bytes there are, how long it will take.

    `what`: as in "exported"; `total_bytes` None: not known. Away from a terminal it says so every ten seconds, so that a
    short transfer says nothing.
    """

    def __init__(self, what: str, total_bytes: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._next_s = clock() + _LINE_S
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._next_s = 0.0
            console = Console(stderr=True)
            self._bar = Progress(*_columns(total_bytes), console=console, auto_refresh=False, transient=True)
            self._task = self._bar.add_task(what, total=total_bytes, keys=0, rate=0.0)

    def at(self, keys: int, rate: float, done_bytes: int) -> None:
        """Show it, if it is time to."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        if self._bar is None:
            self._next_s = now_s + _LINE_S
            note(f"{self._what} {keys:,} keys so far, {rate:,.0f} keys/s")
        else:
            self._next_s = now_s + _DRAW_S
            self._bar.update(self._task, completed=done_bytes, keys=keys, rate=rate)
            self._bar.refresh()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _columns(total_bytes: int | None) -> list[ProgressColumn]:
    keys = TextColumn("{task.description} {task.fields[keys]:,} keys, {task.fields[rate]:,.0f} keys/s")
    if total_bytes is None:
        return [keys, DownloadColumn(), TimeElapsedColumn()]
    return [keys, BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn()]
