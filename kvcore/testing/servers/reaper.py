"""A process that outlives its parent for a moment, to remove what the parent has left behind.

A test run can end without a chance to clean up: by kill -9, by a timeout that ends the process, by a second Ctrl-C. Its
servers would then stay for ever.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

__all__ = ("Reaper",)


class Reaper:
    """Watches over a folder: when it is closed, or its parent ends in whatever way, nothing is left of the folder.

    Every process that works in the folder is killed, and the folder removed. Until that is done it keeps open the files `held`, by
    their descriptors: who waits for a lock on one of them finds nothing left.
    """

    def __init__(self, folder: Path, *, held: Collection[int] = ()) -> None:
        # By its path and isolated: it needs nothing but the standard library, and starts fast. It ends when its input does.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=tuple(held),
            start_new_session=True,
        )

    def close(self) -> None:
        """Have it do its work, and return when it has. May be called again."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _working_in(folder: Path) -> list[int]:
    """List the processes whose working folder is in the folder; one that has ended has none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = (entry / "cwd").readlink()
            except OSError:  # it has ended, or is somebody else's
                continue
            if place.is_relative_to(folder):
                found.append(int(entry.name))
    return found


def _reap(folder: Path) -> None:
    while pids := _working_in(folder):
        for pid in pids:
            with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)  # between two looks: they are not children of this process
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _reap(Path(sys.argv[1]))
