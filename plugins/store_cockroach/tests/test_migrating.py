"""The schema: how it comes, and that no other one is used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from psycopg.rows import TupleRow

from kvcore.errors import UnavailableError
from kvcore.model import ZERO, Entry, Mutation, Verdict, Version
from kvcore.testing.servers import Database
from kvcore_store_cockroach import CockroachSettings, CockroachStore, migrate, open_cockroach
from kvcore_store_cockroach.connecting import connect
from kvcore_store_cockroach.server import Server
from kvcore_store_cockroach.sql import migrations, statement

Execute = Callable[[CockroachSettings, str], Awaitable[None]]

COLUMNS = """
SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, collation_name
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
KEYS = """
SELECT table_name, column_name FROM information_schema.key_column_usage WHERE table_schema = 'public' ORDER BY table_name
"""


async def described(settings: CockroachSettings) -> list[TupleRow]:
    """Return the columns and keys of all tables in a database."""
    async with await connect(settings, settings.hosts[0]) as connection:
        columns, keys = [await (await connection.execute(query)).fetchall() for query in (COLUMNS, KEYS)]
    return columns + keys


async def test_all_migrations_together_give_the_schema(
    database: Database, own: CockroachSettings, settings_of: Callable[[str], CockroachSettings], execute: Execute
) -> None:
    """The schema as it is written down is that which a new database has, with keys that sort by their bytes."""
    written = settings_of(database.create_database())
    text = {"cockroachdb": "STRING", "postgresql": 'TEXT COLLATE "C"'}[database.kind]
    for one in statement("schema").replace("{text}", text).split(";\n")[:3]:
        await execute(written, one)
    assert await described(own) == await described(written)


REQUIRED = ["0001_migrations", "0002_kv", "0004_answered"]
HELPFUL = ["0003_row_level_ttl", "0005_answered_ttl"]


@pytest.mark.parametrize(
    ("server", "names"),
    [
        (Server("PostgreSQL", (17, 2)), REQUIRED),
        (Server("CockroachDB", (21, 2, 17)), REQUIRED),
        (Server("CockroachDB", (22, 2)), sorted(REQUIRED + HELPFUL)),
        (Server("CockroachDB", (25, 1, 0)), sorted(REQUIRED + HELPFUL)),
    ],
    ids=str,
)
def test_a_server_has_the_migrations_that_it_understands(server: Server, names: list[str]) -> None:
    """Row-level TTL is switched on where the server has it, is one statement like all of them, and is not required."""
    known = migrations(server)
    assert [migration.name for migration in known] == names
    assert [migration.name for migration in known if migration.required] == REQUIRED
    assert all(migration.script.count(";") == 1 and "{" not in migration.script for migration in known)
    assert ('COLLATE "C"' in known[1].script) == (server.kind == "PostgreSQL")


async def test_applies_what_is_lacking_and_names_it(empty: CockroachSettings) -> None:
    """The first run applies all migrations, in order; the next finds nothing to do."""
    async with await connect(empty, empty.hosts[0]) as connection:
        names = [migration.name for migration in migrations(connection.server)]
    assert list(await migrate(empty)) == names
    assert list(await migrate(empty)) == []


async def test_several_runs_at_once_apply_each_migration_once(empty: CockroachSettings) -> None:
    """Whoever else migrates at the same time, all succeed, each migration is named by one of them, and the store works."""
    runs = await asyncio.gather(*(migrate(empty) for _ in range(6)))
    named = [name for names in runs for name in names]
    assert sorted(named) == sorted(set(named))
    assert set(named) >= set(REQUIRED)
    async with open_cockroach(empty) as store:
        (outcome,) = await store.apply([Mutation("key", Entry(Version("1" * 24), b"value"))])
    assert outcome.verdict is Verdict.APPLIED


async def test_migrates_under_a_node_that_waits_for_it(empty: CockroachSettings) -> None:
    """A store on a database without the schema says what to run, and works as soon as that has been done."""
    async with open_cockroach(empty) as store:
        await refuses(store, "run `kvctl store migrate`")
        await migrate(empty)
        assert await store.ping()


async def test_a_schema_that_lacks_a_migration_is_not_used(own: CockroachSettings, execute: Execute) -> None:
    """An older schema is refused by name."""
    await execute(own, "DELETE FROM kvcore_migrations WHERE name = '0002_kv'")
    async with open_cockroach(own) as store:
        await refuses(store, "the schema lacks 0002_kv: run `kvctl store migrate`")


async def test_an_older_schema_is_brought_up_with_its_keys(own: CockroachSettings, execute: Execute) -> None:
    """Migrating a database in use leaves what it holds alone, and it remembers requests from then on."""
    create = Mutation("key", Entry(Version("2" * 24), b"value"), ZERO, bytes(32))
    async with open_cockroach(own) as store:
        await store.apply([put := Mutation("held", Entry(Version("1" * 24), b"held"))])
    await execute(own, "DROP TABLE answered")
    await execute(own, "DELETE FROM kvcore_migrations WHERE name >= '0004'")
    async with open_cockroach(own) as store:
        await refuses(store, "the schema lacks 0004_answered: run `kvctl store migrate`")
        await migrate(own)
        assert list(await store.get(["held"])) == [put.entry]
        assert list(await store.apply([create])) == list(await store.apply([create]))


async def test_a_later_schema_that_only_adds_something_is_used(own: CockroachSettings, execute: Execute) -> None:
    """While an update goes on, processes of the version before work on the schema of the next one."""
    await execute(own, "INSERT INTO kvcore_migrations (name) VALUES ('9999_future')")
    put = Mutation("key", Entry(Version("1" * 24), b"1"))
    async with open_cockroach(own) as store:
        assert [outcome.verdict for outcome in await store.apply([put])] == [Verdict.APPLIED]
        assert list(await store.get(["key"])) == [put.entry]
    assert await migrate(own) == []


async def test_a_later_schema_that_breaks_with_this_one_is_not_used(own: CockroachSettings, execute: Execute) -> None:
    """It is refused, by nodes and by migrate."""
    await execute(own, "INSERT INTO kvcore_migrations (name) VALUES ('9999_future_breaking')")
    async with open_cockroach(own) as store:
        await refuses(store, "the schema has 9999_future_breaking, .* install a newer kvcore-store-cockroach")
    with pytest.raises(UnavailableError, match="install a newer"):
        await migrate(own)


async def test_a_table_that_vanished_is_asked_for(own: CockroachSettings, execute: Execute) -> None:
    """A store whose table is removed under it says what to run."""
    async with open_cockroach(own) as store:
        await store.ping()
        await execute(own, "DROP TABLE kv")
        with pytest.raises(UnavailableError, match="run `kvctl store migrate`") as caught:
            await store.apply([Mutation("key", Entry(Version("1" * 24)))])
        assert caught.value.outcome == "not-applied"


async def refuses(store: CockroachStore, words: str) -> None:
    """Assert that every call is refused, nothing having been done."""
    mutation = Mutation("key", Entry(Version("1" * 24)))
    calls: list[Callable[[], Awaitable[object]]] = [
        store.ping,
        lambda: store.get(["key"]),
        lambda: store.apply([mutation]),
        lambda: store.scan("", None, 1),
        lambda: store.purge(Version("1" * 24), 1),
        store.stats,
    ]
    for call in calls:
        with pytest.raises(UnavailableError, match=words) as caught:
            await call()
        assert caught.value.outcome == "not-applied"
