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
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import pytest

from kvcore.testing.servers import (
    Database,
    MissingServerError,
    RabbitCluster,
    RedisServers,
    ServerGroup,
    database_class,
)

__all__ = ("database", "do_without", "pytest_terminal_summary", "rabbitmq_cluster", "redis_servers", "required")

G = TypeVar("G", bound=ServerGroup)
T = TypeVar("T")

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


def required(make: Callable[[], T]) -> T:
    """Return what is made of executables; where one is missing the test does without, see `do_without`."""
    try:
        return make()
    except MissingServerError as error:
        do_without(str(error))


def do_without(reason: str) -> NoReturn:
    """Skip the test, or fail it where `CI` is set; `reason` says what to install."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)  # the reason names what is missing; with CI set it has failed above


def _running(kind: type[G], config: pytest.Config) -> Iterator[G]:
    with required(kind) as group:
        config.stash.setdefault(_VERSIONS, []).append(group.version)
        yield group
