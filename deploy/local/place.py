"""The folder in which everything is: whose it is, whether somebody uses it, and what a crash has left in it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kvcore.testing.servers.reaper import Reaper

__all__ = ("PID_FILE", "PlaceError", "claimed", "default_folder", "is_in_use", "opened")

PID_FILE: Final = Path("control", "pid")
"""By this file a folder is known as one of ours; it has the process id of who uses it, or was the last to do so."""
_TAKEN: Final = re.compile(r"[A-Za-z0-9_./@+-]+")
_CLEARED_WITHIN_S: Final = 30.0


class PlaceError(Exception):
    """The folder cannot be used; the message says why, and what to do."""


def default_folder() -> Path:
    """Return the place that is meant where none is named: one for each user, which a server that runs as another user can reach."""
    return Path(tempfile.gettempdir()).resolve() / f"kvcore-local-{os.geteuid()}"


@contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """Have the folder for oneself, and empty. What a crash has left in it is ended and removed first.

    Gives the descriptor of a lock, which is on the folder itself: while anybody has that open, nobody else moves in. At the end
    the folder is removed, if that has not been done.

    Raises:
        PlaceError: it is in use, has something else in it, or belongs to somebody else.
    """
    _refuse_unusable(folder)
    ends_s = time.monotonic() + _CLEARED_WITHIN_S
    while (lock := _claim(folder)) is None:
        if time.monotonic() > ends_s:
            raise PlaceError(f"{folder} is not cleared within {_CLEARED_WITHIN_S:g} s by whoever has used it before")
        time.sleep(0.05)  # between two looks: a lock that is free tells nobody
    try:
        yield lock
    finally:
        if _is_at(lock, folder):
            shutil.rmtree(folder)
        os.close(lock)


def is_in_use(folder: Path) -> bool:
    """Tell whether somebody uses the folder, or is about to remove it."""
    with suppress(FileNotFoundError), opened(folder) as lock:
        return not _is_locked(lock)
    return False


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Give the descriptor of a folder, if it is ours and no link.

    Raises:
        FileNotFoundError: it is not there.
        PlaceError: it is something else, or belongs to somebody else.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        raise PlaceError(f"{folder} is no folder, or a link to one") from None
    except PermissionError:
        raise PlaceError(f"{folder} belongs to somebody else: name another one with --folder") from None
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            raise PlaceError(f"{folder} belongs to somebody else: name another one with --folder")
        yield lock
    finally:
        os.close(lock)


def _claim(folder: Path) -> int | None:
    """Return the lock; None: not yet, look again.

    Raises:
        PlaceError: as for `claimed`.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o711)
    with suppress(FileNotFoundError), opened(folder) as lock:
        if not _is_locked(lock):
            _refuse_used(folder)
        elif _is_at(lock, folder) and not any(folder.iterdir()):
            return os.dup(lock)
        elif _is_at(lock, folder):
            if not (folder / PID_FILE).exists():
                raise PlaceError(f"{folder} has something else in it: name a folder that is empty, or not there")
            Reaper(folder, held=(lock,)).close()
    return None


def _is_locked(lock: int) -> bool:
    """Tell whether the lock is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(lock: int, folder: Path) -> bool:
    """Tell whether the folder that was locked is still the one at that path: it may have been removed meanwhile, and made anew."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), folder.stat())
    return False


def _refuse_used(folder: Path) -> None:
    """Refuse a folder whose user lives. Where only its lock is held, its remains are being removed."""
    try:
        pid = int((folder / PID_FILE).read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return
    raise PlaceError(f"one runs already in {folder}, process {pid}: end it with `down`, or name another --folder")


def _refuse_unusable(folder: Path) -> None:
    """Refuse a place that some server could not work in.

    Raises:
        PlaceError: its name is not taken by all of them; or a folder above it is not there, or is closed to the user whom PostgreSQL
            runs as where this is root.
    """
    if not _TAKEN.fullmatch(str(folder)):
        raise PlaceError(f"{folder} has characters other than A-Z a-z 0-9 _ . / @ + -: name another --folder")
    for above in folder.parents:
        if not above.is_dir():
            raise PlaceError(f"{above} is not there: make it, or name another --folder")
        if os.geteuid() == 0 and not above.stat().st_mode & stat.S_IXOTH:
            raise PlaceError(
                f"{above} is closed to other users, and PostgreSQL does not run as root: name another --folder"
            )
