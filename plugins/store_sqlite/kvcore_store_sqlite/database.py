"""The database file: one node at a time, of a known schema, on two connections.

Beside the file lies another, `<path>.lock`. Whoever has the database open holds an exclusive `flock` on it, which the
kernel releases at the end of the process, however that comes. It is never removed: two processes could then each lock a
file of that name.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from kvcore.errors import SettingsError
from kvcore_store_sqlite.sql import migrations, statement
from kvcore_store_sqlite.translating import translating

__all__ = ("Database", "InUseError", "locked", "schema_version")

_APPLICATION_ID: Final = 0x6B766372
_PATIENCE_MS: Final = 2000


class InUseError(SettingsError):
    """Another process has the database open."""


class Database:
    """An open database: `writer`, whose only user may write, and `reader`, which sees what is committed.

    Raises on opening:
        SettingsError: the path cannot be used, as it says, or another process uses it.
    """

    def __init__(self, path: Path) -> None:
        _refuse_useless(path)
        path = Path(os.path.realpath(path))  # a symbolic link to a database is that database, and has its lock
        self._path = path
        with ExitStack() as stack:
            stack.enter_context(locked(path))
            with translating(lambda why: _refusal(path, why)):
                self.writer = stack.enter_context(closing(apsw.Connection(str(path))))
                _prepare(path, self.writer)
                self.reader = stack.enter_context(closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)))
            self._file = path.stat()
            self._close = stack.pop_all().close

    def is_in_place(self) -> bool:
        """Tell whether the path still leads to the file that was opened: one that was removed keeps nothing for long."""
        try:
            return os.path.samestat(self._path.stat(), self._file)
        except OSError:
            return False

    def close(self) -> None:
        """Move the log into the database file, close, and let the next process open it. May be repeated."""
        self._close()


def _refuse_useless(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, f"its folder cannot be made ({error.strerror}); choose another path") from error
    except ValueError as error:
        raise _refusal(path, f"this is no path ({error})") from error
    if path.is_dir():
        raise _refusal(path, "this is a folder; name a file in it")


def _refusal(path: Path, why: str) -> SettingsError:
    return SettingsError(f"store.sqlite.path: {path}: {why}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep all other processes, and other users in this one, from opening the database.

    Raises:
        SettingsError: one of them has it open, or the lock's file cannot be made.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _refusal(
            path, f"its folder cannot be written to ({error.strerror}); mend its permissions or choose another path"
        ) from error
    try:
        _lock(path, lock)
        yield
    finally:
        os.close(lock)


def _lock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError(
            f"store.sqlite.path: {path}: another process uses this database; stop that one, or choose another path"
        ) from None
    except OSError as error:
        raise _refusal(path, f"its file system has no locks ({error.strerror}); use a local disk") from error


def _prepare(path: Path, connection: apsw.Connection) -> None:
    # After a kill the log must be read first, and a backup may be reading at that moment.
    connection.set_busy_timeout(_PATIENCE_MS)
    version = schema_version(path, connection)  # before anything is written to what may be somebody else's
    for _ in connection.execute(statement("prepare")):
        pass  # a pragma may answer with a row, and is done when it has been read
    if connection.pragma("journal_mode") != "wal":
        raise _refusal(path, "the file system lacks shared memory for a write-ahead log; use a local disk")
    for number, script in enumerate(migrations()[version:], start=version + 1):
        with connection:
            connection.execute(script)
            connection.pragma("user_version", number)
    # The event loop must not wait for another process from here on.
    connection.set_busy_timeout(0)


def schema_version(path: Path, connection: apsw.Connection) -> int:
    """Return the number of the last migration that this database has had; 0: it is empty.

    Raises:
        SettingsError: it is not a database of kvcore, or of a later schema than is known here.
    """
    version: int = connection.pragma("user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if tables and connection.pragma("application_id") != _APPLICATION_ID:
        raise _refusal(path, "this is a database of some other program; choose another path")
    if version > len(migrations()):
        raise _refusal(
            path,
            f"its schema has version {version} and this kvcore-store-sqlite knows {len(migrations())};"
            " install a newer kvcore-store-sqlite",
        )
    return version
