"""kvctl on a real terminal: one that a test reads, types into and resizes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from functools import partial
from types import TracebackType
from typing import Final, Self

__all__ = ("Terminal",)

_ESCAPE: Final = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


class Terminal:
    """Runs kvctl in a pseudo-terminal of a size, and ends it on leaving."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24, **variables: str) -> None:
        self._screen, inner = pty.openpty()
        self._read = ""
        self.resize(columns, lines)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("KVCORE_") and name not in ("NO_COLOR", "COLUMNS", "LINES")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kvcore.cli", *arguments],
            env={**environment, "TERM": "xterm-256color", **variables},
            preexec_fn=partial(os.login_tty, inner),  # so that it is the terminal that Ctrl-C comes from
        )
        os.close(inner)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Give the terminal another size, of which it tells the process."""
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, text: str) -> None:
        """Press keys."""
        os.write(self._screen, text.encode())

    def until(self, pattern: str, *, within_s: float = 60.0) -> str:
        """Wait until what has been shown since the last call matches, and return it, as it came."""
        ends = time.monotonic() + within_s
        while True:
            plain = _ESCAPE.sub("", self._read)
            if re.search(pattern, plain, re.DOTALL):
                shown, self._read = self._read, ""
                return shown
            if time.monotonic() > ends or not self._more(ends - time.monotonic()):
                raise AssertionError(f"{pattern!r} is not in {plain!r}")

    def ended(self, *, within_s: float = 60.0) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what was shown since the last call."""
        ends = time.monotonic() + within_s
        while self._more(ends - time.monotonic()):
            pass
        return self.process.wait(within_s), self._read

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it does for a shell."""
        flags: int = termios.tcgetattr(self._screen)[3]
        return bool(flags & termios.ECHO)

    def _more(self, timeout_s: float) -> bool:
        if not select.select([self._screen], [], [], max(timeout_s, 0))[0]:
            return False
        try:
            data = os.read(self._screen, 65_536)
        except OSError:  # nobody has the other end open any more
            return False
        self._read += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._screen)
