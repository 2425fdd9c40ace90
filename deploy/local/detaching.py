"""Going on in the background once something has been started in the foreground."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ("go_to_background",)


def go_to_background() -> Callable[[Path], None]:
    """Go on in a child process, which the terminal's Ctrl-C does not reach; to be called before there are threads.

    The parent waits, passes on signals that are to end it, and ends when the child calls what is returned here, or has ended. The
    child speaks to the terminal until it calls that, and from then on to the file that it names.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        sys.exit(_outcome(child, reading))
    os.close(reading)
    os.setsid()

    def let_go(log: Path) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        with log.open("ab") as written, Path(os.devnull).open("rb") as nothing:
            for number, file in enumerate((nothing, written, written)):
                os.dup2(file.fileno(), number)
        os.write(writing, b"\n")
        os.close(writing)

    return let_go


def _outcome(child: int, reading: int) -> int:
    """Return the exit code: 0 when the child has let go, else its own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    with os.fdopen(reading, "rb") as told:
        if told.read(1):
            return 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code
