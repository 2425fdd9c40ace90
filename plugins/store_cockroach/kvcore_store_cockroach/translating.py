"""From exceptions of the driver to those of kvcore: none of the former leaves this plugin.

What matters of a failure is what became of the statement, and whether to send it again. All statements may be sent again:
they are reads, or guarded by versions.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import msgspec
import psycopg

__all__ = ("Failure", "RefusedError", "Repeat", "failure", "words")


class Repeat(Enum):
    """What became of a statement that failed, and what to do with it."""

    AGAIN = auto()
    """Not done; in a moment it may go well on the same connection."""
    ELSEWHERE = auto()
    """Not done; it may go well on another connection."""
    IN_DOUBT = auto()
    """Perhaps done; send it again on another connection."""
    REFUSED = auto()
    """Not done, and never will be: the data are to blame."""
    NEVER = auto()
    """Not done; somebody has to mend something first."""


class Failure(msgspec.Struct, frozen=True):
    """A failure: what to do with the statement; what is wrong, what to do about it (empty: nothing), and how that is known."""

    repeat: Repeat
    what: str
    remedy: str
    evidence: str

    @property
    def reason(self) -> str:
        """All of it in one line."""
        return f"{': '.join(filter(None, (self.what, self.remedy)))} ({self.evidence})"


class RefusedError(Exception):
    """The server refuses a statement for the data in it; inside this plugin only."""


_MISUSE: Final = (Repeat.NEVER, "a fault in kvcore-store-cockroach")
_LOST: Final = (Repeat.IN_DOUBT, "the connection was lost")
_BUSY: Final = (Repeat.AGAIN, "writes of the same keys keep getting into each other's way")
_STALE: Final = (Repeat.ELSEWHERE, "the schema has changed")
_UNFIT: Final = (Repeat.REFUSED, "the database does not take it")
_NO_SCHEMA: Final = (Repeat.NEVER, "the tables are not as they should be: run `kvctl store migrate`")

# By SQLSTATE, or by its first two characters where no longer one is found.
_BY_STATE: Final[dict[str, tuple[Repeat, str]]] = {
    "40001": _BUSY,
    "40P01": _BUSY,
    "55P03": _BUSY,
    "CR000": _BUSY,  # what CockroachDB once said for 40001
    "40": (Repeat.IN_DOUBT, "the server does not know whether it has committed"),
    "08": _LOST,
    "57": (Repeat.IN_DOUBT, "the server was stopped, or gave up the statement"),
    "57P03": (Repeat.ELSEWHERE, "the server is starting or stopping"),
    "57P04": (Repeat.NEVER, "the database was removed"),
    "58": (Repeat.IN_DOUBT, "the server has trouble with its disk or its system: see its log"),
    "72": (Repeat.IN_DOUBT, "the server has lost a snapshot"),
    "XX": (Repeat.IN_DOUBT, "the server has failed: see its log"),
    "25006": (Repeat.ELSEWHERE, "the server is read-only: connect to one that takes writes"),
    "26": _STALE,
    "0A": _STALE,
    "42P05": _STALE,
    "22": _UNFIT,
    "23": _UNFIT,
    "23505": (Repeat.AGAIN, "the same requests keep being answered elsewhere"),  # see `answering`
    "54": _UNFIT,
    "28": (Repeat.NEVER, "the server refuses the user: mend store.cockroach.username and .password"),
    "3D": (Repeat.NEVER, "there is no such database: create it, or mend store.cockroach.database"),
    "42501": (
        Repeat.NEVER,
        "the user lacks privileges: GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE kv, answered, kvcore_migrations to it",
    ),
    "42P01": _NO_SCHEMA,
    "42703": _NO_SCHEMA,
    "3F": _NO_SCHEMA,
    "53": (Repeat.NEVER, "the server is out of connections, memory or disk space"),
    "F0": (Repeat.NEVER, "the server's configuration files are damaged"),
    # Whatever else would be a fault of this plugin.
    **dict.fromkeys(
        ("01", "02", "03", "09", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "24", "25", "27"), _MISUSE
    ),
    **dict.fromkeys(("2B", "2D", "2F", "34", "38", "39", "3B", "42", "44", "55", "HV", "P0"), _MISUSE),
}

# Those that the driver raises by itself, most specific first.
_BY_CLASS: Final[tuple[tuple[type[psycopg.Error], tuple[Repeat, str]], ...]] = (
    (psycopg.errors.ConnectionTimeout, (Repeat.ELSEWHERE, "the server does not answer")),
    (psycopg.DataError, _UNFIT),
    (psycopg.OperationalError, _LOST),
    (psycopg.Error, _MISUSE),
)


def failure(error: psycopg.Error) -> Failure:
    """Say what an exception means, followed by the driver's own words."""
    state = error.sqlstate or ""
    found = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
    if found is None:
        found = next(meaning for kind, meaning in _BY_CLASS if isinstance(error, kind))
    repeat, meaning = found
    what, _, remedy = meaning.partition(": ")
    named = " ".join(filter(None, (type(error).__name__, state)))
    return Failure(repeat, what, remedy, f"{named}: {words(error)}")


def words(error: psycopg.Error) -> str:
    """Return what the server or the driver said, in one line."""
    return " ".join((error.diag.message_primary or str(error)).split())
