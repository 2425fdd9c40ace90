"""`kvctl doctor` on broken set-ups: each fault is named, with how it is known and what to do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from kvcore.cli._app import app
from kvcore.config import resolve
from kvcore.plugins import load_plugins
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore.testing.servers.resp import ask

WRONG = "wrong-password"

Findings = list[tuple[str, str, str]]


@pytest.fixture(scope="module")
def settings(redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database) -> dict[str, str]:
    """Give settings of a set-up in which all is well, with queues that have been declared."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="doctor")
    asyncio.run(_declare_queues(settings))
    return settings


async def _declare_queues(settings: dict[str, str]) -> None:
    plugins = load_plugins()
    resolved = resolve(plugins, environment={}, flags=settings)
    async with plugins.choose("queue", "rabbitmq").open(resolved.backends["queue"]) as queue:
        await queue.ping()


@pytest.fixture
def harmed_redis(redis_servers: RedisServers) -> Iterator[RedisServers]:
    """Give the servers to harm, and bring them back."""
    yield redis_servers
    redis_servers.restore()


@pytest.fixture
def harmed_rabbitmq(rabbitmq_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """Give the nodes to harm, and bring them back."""
    yield rabbitmq_cluster
    rabbitmq_cluster.restore()


def doctor(settings: dict[str, str], changes: Mapping[str, str] = MappingProxyType({})) -> tuple[int, Findings]:
    """Run `kvctl doctor`; return its exit code, and tier, level and message of what is not well."""
    flags = {**settings, **changes}
    result = CliRunner().invoke(
        app, ["doctor", "--json", *(word for path, value in flags.items() for word in ("--set", f"{path}={value}"))]
    )
    assert not any(value in result.output for path, value in flags.items() if path.endswith("password"))
    found: Findings = []
    for part in json.loads(result.stdout):
        for finding in part["findings"]:
            if finding["level"] != "ok":
                assert finding["remedy"], finding
                found.append((part["tier"] or "here", finding["level"], finding["what"]))
    return result.exit_code, found


def assert_found(outcome: tuple[int, Findings], tier: str, words: str, *, level: str = "error") -> None:
    """Assert that there is such a finding, and that the exit code tells whether any is an error."""
    code, found = outcome
    assert [what for where, how, what in found if (where, how) == (tier, level) and words in what], found
    assert code == (1 if any(how == "error" for _, how, _ in found) else 0)


def test_a_set_up_without_fault(settings: dict[str, str]) -> None:
    """Where all is well the exit code is 0, and what is said is advice."""
    code, found = doctor(settings)
    assert code == 0
    assert {level for _, level, _ in found} <= {"warning"}


def test_a_wrong_password_of_redis(settings: dict[str, str]) -> None:
    """The servers refuse the password."""
    outcome = doctor(settings, {"cache.redis.password": WRONG})
    assert_found(outcome, "cache", "it refuses the user or password")


def test_a_master_that_the_sentinels_do_not_know(settings: dict[str, str]) -> None:
    """The name is wrong; the right one is told."""
    outcome = doctor(settings, {"cache.redis.master_name": "other"})
    assert_found(outcome, "cache", "it knows no master 'other'")


def test_sentinels_without_a_master(settings: dict[str, str], harmed_redis: RedisServers) -> None:
    """Master and replicas are dead, the Sentinels live."""
    for server in (harmed_redis.master, *harmed_redis.replicas):
        server.kill()
    assert_found(doctor(settings), "cache", "it cannot be reached")


def test_a_policy_that_evicts_pending_entries(settings: dict[str, str], redis_servers: RedisServers) -> None:
    """Redis is set to evict whatever was not used lately."""
    port = redis_servers.current_master().port
    ask(port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru", password=redis_servers.password)
    try:
        outcome = doctor(settings)
    finally:
        ask(port, "CONFIG", "SET", "maxmemory-policy", "volatile-ttl", password=redis_servers.password)
    assert_found(outcome, "cache", "it may evict entries that the store does not have yet", level="warning")


def test_a_wrong_password_of_rabbitmq(settings: dict[str, str]) -> None:
    """The cluster refuses the password."""
    outcome = doctor(settings, {"queue.rabbitmq.password": WRONG})
    assert_found(outcome, "queue", "it refuses the user name or the password")


def test_a_virtual_host_that_is_not_there(settings: dict[str, str]) -> None:
    """The user is right, the virtual host is not."""
    outcome = doctor(settings, {"queue.rabbitmq.virtual_host": "nowhere"})
    assert_found(outcome, "queue", "it does not let the user into the virtual host")


def test_a_queue_that_was_declared_with_other_arguments(settings: dict[str, str]) -> None:
    """The argument that differs is named."""
    outcome = doctor(settings, {"queue.rabbitmq.max_length": "1234"})
    assert_found(outcome, "queue", "it has been declared with another x-max-length")


def test_queues_without_a_quorum(settings: dict[str, str], harmed_rabbitmq: RabbitCluster) -> None:
    """Two of three nodes are dead: what is left confirms nothing."""
    for node in harmed_rabbitmq.nodes[1:]:
        node.kill()
    code, found = doctor(settings)
    assert code == 1
    errors = [what for tier, level, what in found if (tier, level) == ("queue", "error")]
    assert any("cannot be reached" in what for what in errors)
    assert any("majority" in what or "takes no messages" in what for what in errors), errors


def test_a_wrong_password_of_the_database(settings: dict[str, str], database: Database) -> None:
    """The server refuses the password."""
    if database.password is None:
        pytest.skip("this CockroachDB cluster is insecure: it takes any password")
    outcome = doctor(settings, {"store.cockroach.password": WRONG})
    assert_found(outcome, "store", "password")


def test_a_database_that_is_not_there(settings: dict[str, str]) -> None:
    """The server is there, the database is not."""
    outcome = doctor(settings, {"store.cockroach.database": "nowhere"})
    assert_found(outcome, "store", "database")


def test_a_database_that_was_not_migrated(settings: dict[str, str], database: Database) -> None:
    """The tables are missing."""
    code, found = doctor(settings, {"store.cockroach.database": database.create_database()})
    assert code == 1
    assert [what for tier, level, what in found if (tier, level) == ("store", "error")]


def test_a_clock_that_is_wrong(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is two minutes behind all servers."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 120)
    assert_found(doctor(settings), "here", "this machine's clock is wrong")


def test_servers_that_are_away(settings: dict[str, str]) -> None:
    """Nobody listens: each tier says so by itself."""
    nowhere = '["127.0.0.1:1"]'
    outcome = doctor(settings, {"cache.redis.sentinels": nowhere, "queue.rabbitmq.hosts": nowhere})
    for tier in ("cache", "queue"):
        assert_found(outcome, tier, "it cannot be reached")
