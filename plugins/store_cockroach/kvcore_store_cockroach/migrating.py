"""Bringing the schema up to date."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

import psycopg

from kvcore_store_cockroach.connecting import Connection, applied, connect, lacking, unavailable
from kvcore_store_cockroach.settings import CockroachSettings
from kvcore_store_cockroach.sql import Migration, migrations
from kvcore_store_cockroach.translating import failure, words

__all__ = ("migrate",)

logger = logging.getLogger(__name__)

_TRIES: Final = 20


async def migrate(settings: CockroachSettings) -> Sequence[str]:
    """Apply the migrations that the database lacks, and return the names of those that this run has applied.

    Several may run at once: each migration may run twice, and one of them records it.

    Raises:
        UnavailableError: no server can be reached, it refuses, or the schema is of a later version.
    """
    reasons = []
    for host in settings.hosts:
        try:
            connection = await connect(settings, host)
        except psycopg.Error as error:
            reasons.append(f"{host}: {words(error)}")
        except TimeoutError:
            reasons.append(f"{host}: no answer within {settings.connect_timeout_s:g} s")
        else:
            try:
                return await _migrate(connection)
            except psycopg.Error as error:
                raise unavailable(failure(error).reason, outcome="unknown") from error
            finally:
                await connection.close()
    raise unavailable("; ".join(reasons))


async def _migrate(connection: Connection) -> Sequence[str]:
    await connection.execute("SET statement_timeout = 0")  # changing a schema takes as long as it takes
    done = []
    names = await applied(connection)
    for migration in migrations(connection.server):
        if migration.name in names:
            continue
        try:
            await _run(connection, migration)
        except psycopg.Error as error:
            if migration.required:
                raise
            logger.warning("left out %s, which is of help but not needed: %s", migration.name, words(error))
            continue
        if await connection.rows("record", {"name": migration.name}):
            done.append(migration.name)
    if why := lacking(connection.server, await applied(connection)):
        raise unavailable(why)
    return done


async def _run(connection: Connection, migration: Migration) -> None:
    """Run one; of two runs at once the second may fail for the first's sake, and finds it done when it tries again."""
    for number in range(_TRIES):
        try:
            await connection.execute(migration.script)
        except (
            psycopg.errors.UniqueViolation,
            psycopg.errors.DuplicateTable,
            psycopg.errors.DuplicateObject,
            psycopg.errors.InternalError_,  # "tuple concurrently updated"
            psycopg.errors.TransactionRollback,
        ):
            if number == _TRIES - 1:
                raise
            await asyncio.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - no secret
        else:
            return
