"""One statement, sent until it is clear what became of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from kvcore.errors import UnavailableError
from kvcore_store_cockroach.connecting import Connection, unavailable
from kvcore_store_cockroach.connections import Connections
from kvcore_store_cockroach.server import Server
from kvcore_store_cockroach.translating import Failure, RefusedError, Repeat, failure

__all__ = ("Executor",)

_TRIES: Final = 8
_FIRST_PAUSE_S: Final = 0.005


def _nothing() -> None:
    """Do nothing."""


class Executor:
    """Runs statements on whatever connection there is, and repeats those that may be repeated with a chance of success."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.met: Server | None = None
        """The server that was connected to last; None: none yet."""
        self.retries = 0
        """How often a statement was sent again."""

    async def server(self) -> Server:
        """Return which server it is, having met it.

        Raises:
            UnavailableError: none can be met.
        """
        if self.met is None:
            async with self._connections.use() as connection:
                self.met = connection.server
        return self.met

    async def read(self, name: str, parameters: dict[str, Any] | None = None) -> Sequence[TupleRow]:
        """Run a statement whose parameters cannot be refused and that applies nothing.

        Raises:
            OverloadedError, UnavailableError: it cannot be done now.
        """
        try:
            return await self.rows(name, parameters)
        except RefusedError as refusal:
            raise unavailable(str(refusal)) from refusal
        except UnavailableError as error:
            error.outcome = "not-applied"
            raise

    async def rows(
        self, name: str, parameters: dict[str, Any] | None = None, *, in_doubt: Callable[[], None] = _nothing
    ) -> Sequence[TupleRow]:
        """Run a statement and return its rows.

        `in_doubt` is called before a statement is repeated that may have been done already.

        Raises:
            RefusedError: the server will never take these parameters; nothing was done.
            OverloadedError, UnavailableError: it cannot be done now; with outcome "unknown" if it may have been done.
        """
        doubted = False
        failed = Failure(Repeat.NEVER, "", "", "")
        for number in range(_TRIES):
            self.retries += number > 0
            result = await self._try(name, parameters, doubted=doubted)
            if not isinstance(result, Failure):
                return result
            failed = result
            if failed.repeat is Repeat.REFUSED:
                raise RefusedError(failed.reason)
            if failed.repeat is Repeat.NEVER:
                break
            if failed.repeat is Repeat.IN_DOUBT:
                doubted = True
                in_doubt()
            if failed.repeat is Repeat.AGAIN or number > 0:  # a new connection is worth a try at once
                await asyncio.sleep(random.uniform(0.5, 1.5) * _FIRST_PAUSE_S * 2**number)  # noqa: S311 - no secret
        raise unavailable(failed.reason, outcome="unknown" if doubted else "not-applied")

    async def _try(
        self, name: str, parameters: dict[str, Any] | None, *, doubted: bool
    ) -> Sequence[TupleRow] | Failure:
        try:
            async with self._connections.use() as connection:
                self.met = connection.server
                return await self._run(connection, name, parameters)
        except UnavailableError as error:
            if doubted:
                error.outcome = "unknown"
            raise

    async def _run(
        self, connection: Connection, name: str, parameters: dict[str, Any] | None
    ) -> Sequence[TupleRow] | Failure:
        try:
            return await connection.rows(name, parameters)
        except UnicodeEncodeError as error:
            return Failure(Repeat.REFUSED, "it cannot be written as UTF-8", "", str(error))
        except psycopg.Error as error:
            failed = failure(error)
            if failed.repeat in (Repeat.IN_DOUBT, Repeat.ELSEWHERE):
                # No connection to that server is to be trusted, this one least.
                connection.pgconn.finish()
                self._connections.drop(connection.host)
            return failed
