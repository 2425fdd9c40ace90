"""From exceptions of the driver to those of kvcore: none of the former leaves this plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from kvcore.errors import Fate, KvcoreError, UnavailableError

__all__ = ("reason", "translating", "unavailable")

_REASONS: Final[tuple[tuple[tuple[type[apsw.Error], ...], str], ...]] = (
    ((apsw.FullError,), "the disk is full: make room"),
    ((apsw.IOError,), "the disk reported an error: see the system's log"),
    ((apsw.NoMemError, apsw.TooBigError), "there is not enough memory"),
    (
        (apsw.BusyError, apsw.LockedError, apsw.ProtocolError),
        "another program is using the database: only a node may write to it",
    ),
    (
        (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError, apsw.AuthError),
        "the file cannot be opened for writing: mend its permissions, and those of its folder",
    ),
    ((apsw.NotADBError,), "the file is not an SQLite database"),
    (
        (apsw.CorruptError, apsw.FormatError),
        "the database is damaged: stop the node, look with `kvctl sqlite check`, and restore a backup",
    ),
    ((apsw.ConnectionClosedError, apsw.CursorClosedError, apsw.VFSFileClosedError), "the store has been closed"),
    ((apsw.NoLFSError, apsw.VFSNotImplementedError), "the file system lacks what SQLite needs: use a local disk"),
    ((apsw.AbortError, apsw.InterruptError), "the work was interrupted"),
    # Those that would be a fault of this plugin.
    (
        (
            apsw.BindingsError,
            apsw.ConnectionNotClosedError,
            apsw.ConstraintError,
            apsw.EmptyError,
            apsw.ExecTraceAbort,
            apsw.ExecutionCompleteError,
            apsw.ExtensionLoadingError,
            apsw.ForkingViolationError,
            apsw.IncompleteExecutionError,
            apsw.InternalError,
            apsw.InvalidContextError,
            apsw.MismatchError,
            apsw.MisuseError,
            apsw.NoFTS5Error,
            apsw.NotFoundError,
            apsw.RangeError,
            apsw.SQLError,
            apsw.SchemaChangeError,
            apsw.ThreadingViolationError,
        ),
        "a fault in kvcore-store-sqlite",
    ),
)


def reason(error: apsw.Error) -> str:
    """Say what an exception means to who runs the node, and what to do, followed by the driver's own words."""
    meaning = next((text for classes, text in _REASONS if isinstance(error, classes)), "SQLite failed")
    return f"{meaning} ({type(error).__name__}: {error})"


def unavailable(outcome: Fate) -> Callable[[str], UnavailableError]:
    """Return what makes the error of a store that cannot serve now."""
    return lambda why: UnavailableError(f"the SQLite store cannot serve now: {why}", outcome=outcome)


@contextmanager
def translating(into: Callable[[str], KvcoreError]) -> Iterator[None]:
    """Turn exceptions of the driver into what `into` makes of their reason; let all others pass."""
    try:
        yield
    except apsw.Error as error:
        raise into(reason(error)) from error
