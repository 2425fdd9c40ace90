"""What `kvctl doctor` says of the database, for each way in which it can be broken."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from kvcore.backends import Finding
from kvcore.secret import Secret
from kvcore.testing.servers import Database
from kvcore.testing.servers.ports import free_port
from kvcore_store_cockroach import CockroachSettings, diagnose
from kvcore_store_cockroach.connecting import connect
from kvcore_store_cockroach.diagnosis import _age
from kvcore_store_cockroach.server import Server

Execute = Callable[[CockroachSettings, str], Awaitable[None]]


async def finding(settings: CockroachSettings) -> Finding:
    """Return what is found about the first server, of which there is no more than one thing to say."""
    (found,) = (await diagnose(msgspec.structs.replace(settings, hosts=settings.hosts[:1]))).findings
    assert found.about == f"database server {settings.hosts[0]}"
    assert bool(found.remedy) == bool(found.evidence) == (found.level != "ok")
    return found


async def test_a_sound_database_is_said_to_be(migrated: CockroachSettings, database: Database) -> None:
    """Each server that reads and writes is named with its version, and how far its clock is ahead."""
    diagnosis = await diagnose(migrated)
    assert [one.level for one in diagnosis.findings] == ["ok"] * len(database.hosts)
    kind = {"cockroachdb": "CockroachDB v", "postgresql": "PostgreSQL "}[database.kind]
    assert all(one.what.startswith(kind) and one.what.endswith("reads and writes") for one in diagnosis.findings)
    assert list(diagnosis.ahead_ms) == list(migrated.hosts)
    assert all(abs(ahead_ms) < 60_000 for ahead_ms in diagnosis.ahead_ms.values())


async def test_nothing_listens(migrated: CockroachSettings) -> None:
    """A port on which nobody listens is named."""
    found = await finding(msgspec.structs.replace(migrated, hosts=(f"127.0.0.1:{free_port()}",)))
    assert found.what == "nothing listens there"
    assert "refused" in found.evidence
    assert "store.cockroach.hosts" in found.remedy


async def test_an_unknown_name(migrated: CockroachSettings) -> None:
    """A host that no name service knows is named."""
    found = await finding(msgspec.structs.replace(migrated, hosts=("no-such-host.invalid",)))
    assert found.what == "the name is not known"


async def test_a_server_that_does_not_answer(migrated: CockroachSettings) -> None:
    """Something that takes connections and says nothing is told from one that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        found = await finding(msgspec.structs.replace(migrated, hosts=(host,), connect_timeout_s=0.2))
    assert found.what == "the server does not answer"
    assert found.evidence == "no connection within 0.2 s"


async def test_a_wrong_password(migrated: CockroachSettings, database: Database) -> None:
    """A password that the server does not accept is named, and not shown."""
    if database.password is None:
        pytest.skip("this database asks for no password")
    found = await finding(msgspec.structs.replace(migrated, password=Secret("wrong-one")))
    assert found.what == "the server does not accept the user and password"
    assert "password authentication failed" in found.evidence
    assert "store.cockroach.password" in found.remedy
    assert "wrong-one" not in repr(found)


async def test_a_missing_database(migrated: CockroachSettings) -> None:
    """A database that is not there is named, with how to make it."""
    found = await finding(msgspec.structs.replace(migrated, database="nowhere"))
    assert found.what == "there is no such database"
    assert "nowhere" in found.evidence
    assert "CREATE DATABASE" in found.remedy


async def test_a_missing_migration(empty: CockroachSettings) -> None:
    """A database without the schema is named, with the command that brings it."""
    found = await finding(empty)
    assert found.what == "the schema lacks 0001_migrations, 0002_kv, 0004_answered"
    assert found.evidence == "kvcore_migrations has nothing"
    assert found.remedy == "run `kvctl store migrate`"


async def test_a_later_schema(own: CockroachSettings, execute: Execute) -> None:
    """A schema that a later version has made, and that this one cannot use, is named."""
    await execute(own, "INSERT INTO kvcore_migrations (name) VALUES ('9999_future_breaking')")
    found = await finding(own)
    assert found.what == "the schema has 9999_future_breaking, which this version does not know"
    assert found.remedy == "install a newer kvcore-store-cockroach"


async def test_missing_privileges(own: CockroachSettings, execute: Execute) -> None:
    """A user who may not write is named, with each privilege that is lacking."""
    await execute(own, "CREATE USER reader PASSWORD 'reader'" if own.password else "CREATE USER reader")
    try:
        await execute(own, "GRANT SELECT ON TABLE kv, answered, kvcore_migrations TO reader")
        password = Secret("reader") if own.password else None
        found = await finding(msgspec.structs.replace(own, username="reader", password=password))
        assert found.what == "the user may not do all that it must"
        lacking = "INSERT on kv, UPDATE on kv, DELETE on kv, INSERT on answered, DELETE on answered"
        assert f"{lacking}, UPDATE on kvcore_migrations" in found.evidence
        assert found.remedy.startswith("GRANT")
        await execute(own, "REVOKE ALL ON TABLE kv, answered, kvcore_migrations FROM reader")
        found = await finding(msgspec.structs.replace(own, username="reader", password=password))
        assert found.what == "the user lacks privileges"
        assert found.remedy.startswith("GRANT")
    finally:
        await execute(own, "REVOKE ALL ON TABLE kv, answered, kvcore_migrations FROM reader")
        await execute(own, "DROP USER reader")


async def test_no_tls(migrated: CockroachSettings) -> None:
    """A server that offers no TLS, where it is asked for, is named."""
    found = await finding(msgspec.structs.replace(migrated, tls="require"))
    assert found.what == "the server does not offer TLS"
    assert "store.cockroach.tls" in found.remedy


async def test_a_read_only_server(own: CockroachSettings, database: Database, execute: Execute) -> None:
    """A server that takes no writes, as a standby does not, is named."""
    if database.kind != "postgresql":
        pytest.skip("every node of CockroachDB takes writes")
    await execute(own, f"ALTER DATABASE {own.database} SET default_transaction_read_only = on")
    found = await finding(own)
    assert found.what == "the server is read-only"
    assert "25006" in found.evidence
    assert found.remedy == "connect to one that takes writes"


async def test_a_database_that_gets_nothing_done(
    own: CockroachSettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lets us in and cannot write, as one without a quorum, is named; here somebody holds a lock."""
    if database.kind != "postgresql":
        pytest.skip("CockroachDB locks no tables")
    monkeypatch.setattr("kvcore_store_cockroach.diagnosis._PATIENCE_S", 0.3)
    async with await connect(own, own.hosts[0]) as connection, connection.transaction():
        await connection.execute("LOCK TABLE kvcore_migrations")
        found = await finding(own)
    assert found.what == "the server lets us in, and does not get its work done"
    assert "majority" in found.remedy


async def test_another_encoding(database: Database, migrated: CockroachSettings) -> None:
    """A database whose text is not UTF-8 is named."""
    if database.kind != "postgresql":
        pytest.skip("CockroachDB knows UTF-8 only")
    name = database.create_database() + "_latin"
    database.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    found = await finding(msgspec.structs.replace(migrated, database=name))
    assert found.what == "the database does not keep text as UTF-8"
    assert "LATIN1" in found.evidence


@pytest.mark.parametrize(
    ("said", "name", "supported"),
    [
        ("CockroachDB CCL v23.1.2 (x86_64-pc-linux-gnu, built 2023/05/25 16:10:39)", "CockroachDB v23.1.2", True),
        ("CockroachDB OSS v21.2.0-beta.1 (x86_64)", "CockroachDB v21.2.0", True),
        ("CockroachDB CCL v21.1.19 (x86_64)", "CockroachDB v21.1.19", False),
        ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu", "PostgreSQL 15.18", True),
        ("PostgreSQL 17beta1 on x86_64", "PostgreSQL 17", True),
        ("PostgreSQL 14.2 on x86_64", "PostgreSQL 14.2", False),
    ],
)
def test_an_old_server(said: str, name: str, supported: bool) -> None:
    """Kind and version are read from the server's own words, and a version that is too old is a warning."""
    server = Server.named(said)
    assert str(server) == name
    assert [one.level for one in _age("database server x", server)] == ([] if supported else ["warning"])
