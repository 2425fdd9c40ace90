"""The stage that all fault tests share, whole again after each, and a summary of how long what was away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import SystemRandom

import pytest

from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from tests.faults.availability import Service
from tests.faults.endurance import Verdict
from tests.faults.stage import Stage

SEED_VARIABLE = "FAULTS_SEED"
"""Set to a seed that a report names, the environment variable repeats the clients' choices."""

_VERDICTS = pytest.StashKey[list[Verdict]]()
_REMARKS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def shared_stage(redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database) -> Iterator[Stage]:
    """Give the stage as it is, whatever a test has left of it."""
    with Stage(redis_servers, rabbitmq_cluster, database) as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """Give the stage, whole, and bring back what a failed test may have left dead or paused."""
    shared_stage.restore()
    yield shared_stage
    shared_stage.restore()


@pytest.fixture
def seed() -> int:
    """Give the seed of a load: another one each time, unless the environment sets it."""
    seed = int(os.environ.get(SEED_VARIABLE) or SystemRandom().randrange(1_000_000))
    print(f"to repeat the clients' choices: {SEED_VARIABLE}={seed}")
    return seed


@pytest.fixture
def verdicts(pytestconfig: pytest.Config) -> list[Verdict]:
    """Give the list of what the summary at the end of the session shows."""
    return pytestconfig.stash.setdefault(_VERDICTS, [])


@pytest.fixture
def remarks(pytestconfig: pytest.Config) -> list[str]:
    """Give the list of lines that the summary at the end of the session shows below its table."""
    return pytestconfig.stash.setdefault(_REMARKS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show how long each fault took the server and each service away, and how many requests failed."""
    verdicts, remarks = config.stash.get(_VERDICTS, []), config.stash.get(_REMARKS, [])
    if verdicts or remarks:
        terminalreporter.write_sep("=", "seconds without service (requests that failed)")
    if verdicts:
        terminalreporter.write_line(_row("fault", "seed", "server", *Service))
    for verdict in verdicts:
        figures = (f"{one.gap_s:.2f} ({one.failed})" for one in verdict.services)
        terminalreporter.write_line(_row(verdict.fault, str(verdict.seed), f"{verdict.server_s:.2f}", *figures))
    for remark in remarks:
        terminalreporter.write_line(remark)


def _row(fault: str, seed: str, server: str, *services: str) -> str:
    return f"{fault:32}{seed:>7}{server:>8}" + "".join(f"{service:>14}" for service in services)
