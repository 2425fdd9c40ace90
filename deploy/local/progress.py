"""Telling how far something is: what is being waited for, and for how long, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ("Say", "note", "waiting_for")

Say = Callable[[str], None]
"""Takes a word of progress for whoever has asked for something."""


def note(text: str) -> None:
    """Say something that is no result."""
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Say afterwards how long it took and, on a terminal, how long it takes."""
    began_s = time.monotonic()
    with _clock(what) if Console(stderr=True).is_terminal else nullcontext():
        yield
    note(f"  {what:36} {time.monotonic() - began_s:5.1f} s")


@contextmanager
def _clock(what: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield
