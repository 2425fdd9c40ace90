"""What the tests of this plugin share: a database of their own on real servers, and a way to lose an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from kvcore.secret import Secret
from kvcore.testing.servers import Database
from kvcore_store_cockroach import CockroachSettings, CockroachStore, migrate, open_cockroach
from kvcore_store_cockroach.connecting import connect

SettingsOf = Callable[[str], CockroachSettings]
Execute = Callable[[CockroachSettings, str], Awaitable[None]]


@pytest.fixture(scope="session")
def settings_of(database: Database) -> SettingsOf:
    """Return what gives the settings for a database, by its name."""
    password = None if database.password is None else Secret(database.password)
    return lambda name: CockroachSettings(
        hosts=tuple(database.hosts), database=name, username=database.user, password=password
    )


@pytest.fixture
def empty(database: Database, settings_of: SettingsOf) -> CockroachSettings:
    """Return the settings of an empty database of this test's own."""
    return settings_of(database.create_database())


@pytest.fixture
async def own(empty: CockroachSettings) -> CockroachSettings:
    """Return the settings of a database of this test's own, with the schema."""
    await migrate(empty)
    return empty


@pytest.fixture(scope="session")
async def migrated(database: Database, settings_of: SettingsOf) -> CockroachSettings:
    """Return the settings of a database with the schema, which the tests share."""
    settings = settings_of(database.create_database())
    await migrate(settings)
    return settings


@pytest.fixture
async def store(migrated: CockroachSettings) -> AsyncIterator[CockroachStore]:
    """Yield a store."""
    async with open_cockroach(migrated) as store:
        yield store


@pytest.fixture
def execute() -> Execute:
    """Return what runs a statement in a database, as its owner."""

    async def run(settings: CockroachSettings, text: str) -> None:
        connection = await connect(settings, settings.hosts[0])
        async with connection:
            await connection.execute(text.encode())

    return run


class Proxy:
    """Stands between a store and a server, and can lose the answer to a statement.

    The statement that contains `lose_answer_to` reaches the server; when its answer comes, `meanwhile` is awaited, and then
    the connection is cut. That happens `times` times. While `refusing`, new connections are cut at once.
    """

    def __init__(self, target: str) -> None:
        self._target = target.rsplit(":", 1)
        self.address = ""
        self.lose_answer_to: bytes | None = None
        self.times = 1
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.refusing = False
        self.lost = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self.refusing:
            writer.close()
            return
        host, port = self._target
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        doomed = asyncio.Event()
        with suppress(ConnectionError, ExceptionGroup):  # either side may break off, which is what this is for
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, their_writer, doomed))
                group.create_task(self._answer(their_reader, writer, doomed))
        writer.close()
        their_writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if self.lose_answer_to is not None and self.lose_answer_to in data and self.lost < self.times:
                self.lost += 1
                doomed.set()
            writer.write(data)
            await writer.drain()
        raise ConnectionError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if doomed.is_set():
                if self.meanwhile is not None:
                    await self.meanwhile()
                raise ConnectionError
            writer.write(data)
            await writer.drain()
        raise ConnectionError


@pytest.fixture
async def proxy(own: CockroachSettings) -> AsyncIterator[Proxy]:
    """Yield a proxy to a server that has the database `own`."""
    proxy = Proxy(own.hosts[0])
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()
