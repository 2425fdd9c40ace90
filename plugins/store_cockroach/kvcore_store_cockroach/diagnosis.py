"""What is wrong with the database, for `kvctl doctor`."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

import psycopg

from kvcore.backends import Diagnosis, Finding
from kvcore_store_cockroach.connecting import Connection, applied, connect, lacking
from kvcore_store_cockroach.server import Server
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.translating import failure, words

__all__ = ("diagnose",)

_PATIENCE_S: Final = 3.0
"""How long a server may take for one of the small questions asked here."""

# Servers refuse a connection in words; the driver keeps no code with them.
_REFUSALS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), what, remedy)
    for pattern, what, remedy in (
        (
            r"password authentication failed|no password supplied|invalid password|password is invalid",
            "the server does not accept the user and password",
            "mend store.cockroach.username and store.cockroach.password (or its file), or set the user's password in the database",
        ),
        (
            r"role .* does not exist|user .* does not exist",
            "the server does not know the user",
            "create the user, or mend store.cockroach.username",
        ),
        (
            r"database .* has the encoding",
            "the database does not keep text as UTF-8",
            "create another one, with ENCODING 'UTF8' TEMPLATE template0",
        ),
        (
            r"database .* does not exist",
            "there is no such database",
            "create it (CREATE DATABASE …), then run `kvctl store migrate`; or mend store.cockroach.database",
        ),
        (
            r"server does not support SSL",
            "the server does not offer TLS",
            'switch TLS on in the server, or set store.cockroach.tls = "disable" in a network that you trust',
        ),
        (
            r"certificate|ssl error|tls",
            "the two sides do not agree on TLS",
            "mend store.cockroach.ca_file, .cert_file and .key_file; a name in .hosts must be one in the server's certificate",
        ),
        (
            r"no encryption|secure mode|SSL (connection )?(is )?required|pg_hba\.conf",
            "the server does not let this user in from here in this way",
            'set store.cockroach.tls = "verify-full" if it wants TLS, or allow the user and address in the server',
        ),
        (
            r"too many (clients|connections)|connection slots",
            "the server has no connection to spare",
            "lower store.cockroach.connections, or raise the server's limit",
        ),
        (
            r"is a standby",
            "the server is a standby, which is not used",
            "nothing, where store.cockroach.hosts names the primary too",
        ),
        (
            r"starting up|shutting down|recovery|not accepting",
            "the server is starting or stopping",
            "wait; if it stays so, see its log",
        ),
        (
            r"connection refused",
            "nothing listens there",
            "start the server, or mend store.cockroach.hosts",
        ),
        (
            r"failed to resolve|could not translate|name or service",
            "the name is not known",
            "mend store.cockroach.hosts, or the name service",
        ),
    )
)
_UNREACHABLE: Final = ("the server cannot be connected to", "mend store.cockroach.hosts, or the network in between")


async def diagnose(settings: CockroachSettings) -> Diagnosis:
    """Look at every server: whether it lets us in, and whether the database on it can be read and written."""
    ahead_ms: dict[str, int] = {}
    found = await asyncio.gather(*(_look(settings, host, ahead_ms) for host in settings.hosts))
    return Diagnosis(findings=[finding for findings in found for finding in findings], ahead_ms=ahead_ms)


async def _look(settings: CockroachSettings, host: str, ahead_ms: dict[str, int]) -> list[Finding]:
    about = f"database server {host}"
    try:
        connection = await connect(settings, host)
    except psycopg.Error as error:
        return [_refused(about, error)]
    except TimeoutError:
        return [_silent(about, settings)]
    findings = _age(about, connection.server)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            ahead_ms[host] = await _ahead_ms(connection)
            findings.append(await _use(about, connection))
    except psycopg.Error as error:
        findings.append(_failed(about, error))
    except TimeoutError:
        findings.append(_stuck(about))
    finally:
        connection.pgconn.finish()
    return findings


def _silent(about: str, settings: CockroachSettings) -> Finding:
    return Finding(
        level="error",
        about=about,
        what="the server does not answer",
        evidence=f"no connection within {settings.connect_timeout_s:g} s",
        remedy="see whether it is alive and the network lets connections through; or raise store.cockroach.connect_timeout_s",
    )


def _stuck(about: str) -> Finding:
    return Finding(
        level="error",
        about=about,
        what="the server lets us in, and does not get its work done",
        evidence=f"a small read and write took longer than {_PATIENCE_S:g} s",
        remedy="see whether a majority of the servers is alive (`cockroach node status`), and what holds locks on the tables",
    )


def _refused(about: str, error: psycopg.Error) -> Finding:
    said = words(error)
    what, remedy = next((known for pattern, *known in _REFUSALS if pattern.search(said)), _UNREACHABLE)
    return Finding(level="error", about=about, what=what, evidence=said, remedy=remedy)


def _failed(about: str, error: psycopg.Error) -> Finding:
    failed = failure(error)
    remedy = failed.remedy or "see the server's log"
    return Finding(level="error", about=about, what=failed.what, evidence=failed.evidence, remedy=remedy)


def _age(about: str, server: Server) -> list[Finding]:
    if server.is_supported:
        return []
    return [
        Finding(
            level="warning",
            about=about,
            what="the server is older than those that this was made for",
            evidence=str(server),
            remedy="upgrade to CockroachDB 21.2 or PostgreSQL 15, or later",
        )
    ]


async def _ahead_ms(connection: Connection) -> int:
    before_s = time.time()
    ((theirs_ms,),) = await connection.rows("now")
    return int(theirs_ms - (before_s + time.time()) / 2 * 1000)


async def _use(about: str, connection: Connection) -> Finding:
    """Read and write, as the store does."""
    names = await applied(connection)
    if why := lacking(connection.server, names):
        what, _, remedy = why.partition(": ")
        evidence = f"kvcore_migrations has {', '.join(sorted(names)) or 'nothing'}"
        return Finding(level="error", about=about, what=what, evidence=evidence, remedy=remedy)
    if lacks := await connection.rows("privileges"):
        rights = ", ".join(f"{privilege} on {table}" for table, privilege in lacks)
        return Finding(
            level="error",
            about=about,
            what="the user may not do all that it must",
            evidence=f"has_table_privilege denies {rights}",
            remedy="GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE kv, answered, kvcore_migrations to the user",
        )
    await connection.rows("ping")
    return Finding(level="ok", about=about, what=f"{connection.server} reads and writes")
