"""One connection: to whom, how, and whether the database is fit for use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, waiting
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from kvcore.errors import Fate, UnavailableError
from kvcore_store_cockroach.arrays import adapters
from kvcore_store_cockroach.server import Server
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.sql import BREAKING, migrations, statement

__all__ = ("Connection", "applied", "connect", "lacking", "unavailable")

_DEFAULT_PORT: Final = "26257"
_STATEMENT_TIMEOUT_S: Final = 30
"""After this time the server gives a statement up: nobody waits for it any more, and it may be holding locks."""
_ADAPTERS: Final = adapters()

T = TypeVar("T")


class Connection(AsyncConnection[TupleRow]):
    """A connection of no use when what it waits for is cancelled: its status stays "active", and who has it closes it.

    The driver would ask the server to cancel, and wait for the answer up to ten seconds: for ever, to who has a deadline. A
    server that did not answer in time has no reason to answer that.
    """

    host: str
    server: Server
    opened_s: float

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver calls it so
    ) -> T:
        """Run a step of the driver, without its handling of cancellation."""
        return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)

    async def rows(self, name: str, parameters: dict[str, Any] | None = None) -> Sequence[TupleRow]:
        """Run a statement, prepared, and return its rows."""
        cursor = await self.execute(statement(name), parameters, prepare=True, binary=True)
        return await cursor.fetchall()


def unavailable(why: str, *, outcome: Fate = "not-applied") -> UnavailableError:
    """Return the error of a store that cannot serve now."""
    return UnavailableError(f"the database cannot serve now: {why}", outcome=outcome)


async def connect(settings: CockroachSettings, host: str) -> Connection:
    """Connect to one server.

    Raises:
        psycopg.Error: it cannot be reached, or refuses, or is a standby, or the database is not there or not in UTF-8.
        TimeoutError: it does not answer within the time set.
    """
    async with asyncio.timeout(settings.connect_timeout_s):
        connection = await Connection.connect(_conninfo(settings, host), autocommit=True, context=_ADAPTERS)
        try:
            connection.host = host
            connection.opened_s = time.monotonic()
            await connection.execute(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
            connection.server = await _greet(connection, settings)
        except BaseException:  # also when cancelled: nobody else would close the connection; raised again
            await connection.close()
            raise
    return connection


async def _greet(connection: Connection, settings: CockroachSettings) -> Server:
    cursor = await connection.execute(statement("greet"))
    ((said, databases, encoding, standby),) = await cursor.fetchall()
    if not databases:  # CockroachDB lets a client in all the same
        raise psycopg.errors.InvalidCatalogName(f'database "{settings.database}" does not exist')
    if encoding not in ("UTF8", "UTF-8"):
        raise psycopg.NotSupportedError(f'database "{settings.database}" has the encoding {encoding}, not UTF8')
    if standby == "on":  # it may be behind, and what is read here goes into the cache
        raise psycopg.errors.ReadOnlySqlTransaction("this server is a standby")
    return Server.named(said)


def _conninfo(settings: CockroachSettings, host: str) -> str:
    name, port = host, ""
    if not host.endswith("]"):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "")
    return make_conninfo(
        host=name.strip("[]"),
        port=port or _DEFAULT_PORT,
        dbname=settings.database,
        user=settings.username,
        password=settings.password.reveal() if settings.password is not None else None,
        sslmode=settings.tls,
        sslrootcert=settings.ca_file or ("system" if settings.tls == "verify-full" else None),
        sslcert=settings.cert_file,
        sslkey=settings.key_file,
        application_name="kvcore",
        client_encoding="UTF8",
        gssencmode="disable",
        # A server that vanished without a word is noticed after some seconds.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )


async def applied(connection: Connection) -> set[str]:
    """Return the names of the migrations that the database has had."""
    try:
        cursor = await connection.execute(statement("applied"))
        return {name for (name,) in await cursor.fetchall()}
    except psycopg.errors.UndefinedTable:
        return set()


def lacking(server: Server, names: set[str]) -> str:
    """Say what keeps this plugin from using a database with these migrations; nothing: it can."""
    known = migrations(server)
    if missing := [migration.name for migration in known if migration.required and migration.name not in names]:
        return f"the schema lacks {', '.join(missing)}: run `kvctl store migrate`"
    # Later ones that only add something are those of an update which has begun: this version goes on meanwhile.
    if later := sorted(name for name in names if name > known[-1].name and name.endswith(BREAKING)):
        return f"the schema has {', '.join(later)}, which this version does not know: install a newer kvcore-store-cockroach"
    return ""
