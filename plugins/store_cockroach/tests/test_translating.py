"""Exceptions of the driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.errors import FinishedPGconn
from psycopg.rows import TupleRow

from kvcore.errors import UnavailableError
from kvcore_store_cockroach import CockroachSettings, executing
from kvcore_store_cockroach.connecting import Connection
from kvcore_store_cockroach.connections import Connections
from kvcore_store_cockroach.executing import Executor
from kvcore_store_cockroach.server import Server
from kvcore_store_cockroach.translating import _BY_STATE, RefusedError, Repeat, failure


def classes(root: type[psycopg.Error]) -> Iterator[type[psycopg.Error]]:
    """Yield a class and all below it."""
    yield root
    for kind in root.__subclasses__():
        yield from classes(kind)


CODED = sorted({kind for kind in classes(psycopg.Error) if kind.sqlstate}, key=lambda kind: kind.sqlstate or "")
UNCODED = sorted({kind for kind in classes(psycopg.Error) if not kind.sqlstate}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", CODED, ids=lambda kind: f"{kind.sqlstate} {kind.__name__}")
def test_every_code_of_the_server_is_known(kind: type[psycopg.Error]) -> None:
    """Each SQLSTATE that the driver knows has a meaning, by itself or by its class of codes; a new class must be given one."""
    state = kind.sqlstate or ""
    assert state in _BY_STATE or state[:2] in _BY_STATE


@pytest.mark.parametrize("kind", UNCODED, ids=lambda kind: kind.__name__)
def test_every_exception_without_a_code_is_known(kind: type[psycopg.Error]) -> None:
    """Whatever the driver raises by itself has a meaning."""
    assert failure(kind("words")).what


@pytest.mark.parametrize(
    ("kind", "repeat"),
    [
        (psycopg.errors.SerializationFailure, Repeat.AGAIN),
        (psycopg.errors.DeadlockDetected, Repeat.AGAIN),
        (psycopg.errors.UniqueViolation, Repeat.AGAIN),
        (psycopg.errors.ReadOnlySqlTransaction, Repeat.ELSEWHERE),
        (psycopg.errors.CannotConnectNow, Repeat.ELSEWHERE),
        (psycopg.errors.StatementCompletionUnknown, Repeat.IN_DOUBT),
        (psycopg.errors.AdminShutdown, Repeat.IN_DOUBT),
        (psycopg.errors.QueryCanceled, Repeat.IN_DOUBT),
        (psycopg.errors.ConnectionFailure, Repeat.IN_DOUBT),
        (psycopg.OperationalError, Repeat.IN_DOUBT),
        (psycopg.errors.ProgramLimitExceeded, Repeat.REFUSED),
        (psycopg.errors.CharacterNotInRepertoire, Repeat.REFUSED),
        (psycopg.errors.CheckViolation, Repeat.REFUSED),
        (psycopg.DataError, Repeat.REFUSED),
        (psycopg.errors.InsufficientPrivilege, Repeat.NEVER),
        (psycopg.errors.UndefinedTable, Repeat.NEVER),
        (psycopg.errors.DiskFull, Repeat.NEVER),
        (psycopg.errors.SyntaxError, Repeat.NEVER),
    ],
)
def test_says_what_to_do_with_the_statement(kind: type[psycopg.Error], repeat: Repeat) -> None:
    """What is certainly undone, in doubt, or refused for good is told apart by the server's code."""
    assert failure(kind("words")).repeat is repeat


class FailingConnection:
    """A connection on which every statement fails in one way."""

    host = "127.0.0.1"
    server = Server("PostgreSQL", (15,))
    pgconn = FinishedPGconn()

    def __init__(self, error: psycopg.Error) -> None:
        self.error = error

    async def rows(self, name: str, parameters: dict[str, Any] | None = None) -> Sequence[TupleRow]:
        """Fail."""
        raise self.error


class FailingConnections(Connections):
    """Gives out that one."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(CockroachSettings())
        self.connection: Any = FailingConnection(error)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Give it out."""
        yield self.connection


@pytest.mark.parametrize("kind", [*CODED, *UNCODED], ids=lambda kind: f"{kind.sqlstate} {kind.__name__}")
async def test_none_leaves_the_plugin(kind: type[psycopg.Error], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the driver raises leaves as an error of kvcore, whose outcome says whether the statement may have been done."""
    monkeypatch.setattr(executing, "_FIRST_PAUSE_S", 0.0)
    executor = Executor(FailingConnections(kind("words")))
    with pytest.raises((UnavailableError, RefusedError)) as caught:
        await executor.rows("upsert")
    if isinstance(caught.value, UnavailableError):
        in_doubt = failure(kind("words")).repeat is Repeat.IN_DOUBT
        assert caught.value.outcome == ("unknown" if in_doubt else "not-applied")
    with pytest.raises(UnavailableError) as caught_reading:
        await executor.read("get")
    assert caught_reading.value.outcome == "not-applied"


def test_says_what_it_means_and_what_the_server_said() -> None:
    """The reason names what is wrong, what to do, the driver's class, the code and the words, in one line."""
    assert failure(psycopg.errors.UndefinedTable("no\n table")).reason == (
        "the tables are not as they should be: run `kvctl store migrate` (UndefinedTable 42P01: no table)"
    )
