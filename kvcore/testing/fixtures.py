"""Real servers as fixtures, each started at its first use and shared by all tests of the session.

In the top-level conftest.py, or in a module of tests::

    pytest_plugins = ["kvcore.testing.fixtures"]


    def test_something(redis_servers: RedisServers) -> None: ...

A test that harms a server brings it back with `restore()`, whatever happens. Where an executable is missing, the tests that
need it are skipped and the reason says what to install; with the environment variable `CI` set they fail. The summary at the
end says which servers the tests ran on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest

from kvcore.testing.servers import (
    Database,
    MissingServerError,
    RabbitCluster,
    RedisServers,
    ServerGroup,
    database_class,
)

__all__ = ("database", "pytest_terminal_summary", "rabbitmq_cluster", "redis_servers")

G = TypeVar("G", bound=ServerGroup)

_VERSIONS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def redis_servers(pytestconfig: pytest.Config) -> Iterator[RedisServers]:
    """Give a Redis master, two replicas and three sentinels."""
    yield from _running(RedisServers, pytestconfig)


@pytest.fixture(scope="session")
def rabbitmq_cluster(pytestconfig: pytest.Config) -> Iterator[RabbitCluster]:
    """Give a RabbitMQ cluster of three nodes."""
    yield from _running(RabbitCluster, pytestconfig)


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """Give a CockroachDB cluster of three nodes where `cockroach` is on PATH, else PostgreSQL."""
    yield from _running(database_class(), pytestconfig)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which servers the tests ran on."""
    if versions := config.stash.get(_VERSIONS, []):
        terminalreporter.write_sep("=", "servers")
        terminalreporter.write_line("tested with " + ", ".join(versions))


def _running(kind: type[G], config: pytest.Config) -> Iterator[G]:
    try:
        group = kind()
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))  # the message names what to install; with CI set it has failed above
    with group:
        config.stash.setdefault(_VERSIONS, []).append(group.version)
        yield group
