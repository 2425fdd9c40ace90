"""The topology, whole for each test, and a summary of what its clients saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from deploy.local.topology import Topology
from kvcore.testing.fixtures import required

_REMARKS = pytest.StashKey[list[str]]()


PATIENT: Final = {
    "queue.deadline_s": 4.0,
    "store.deadline_s": 4.0,
    "limits.read_deadline_s": 4.0,
    "limits.write_deadline_s": 4.0,
}
"""Deadlines for a machine whose every core is busy: what these tests count is what a restart costs, and not how slow it is."""


@pytest.fixture(scope="session")
def topology() -> Iterator[Topology]:
    """Give the topology with longer deadlines, below those of NGINX."""
    topology = required(lambda: Topology(settings=PATIENT))
    with topology:
        yield topology


@pytest.fixture
def whole(topology: Topology) -> Iterator[Topology]:
    """Give the topology, and bring back what a test has left dead of nodes, workers and NGINX."""
    yield topology
    topology.service.restore()
    topology.proxy.restore()


@pytest.fixture
def remarks(pytestconfig: pytest.Config) -> list[str]:
    """Give the list of lines that the summary at the end of the session shows."""
    return pytestconfig.stash.setdefault(_REMARKS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show how many requests were answered while something was restarted or killed, and what became of the others."""
    if remarks := config.stash.get(_REMARKS, []):
        terminalreporter.write_sep("=", "through NGINX")
    for remark in remarks:
        terminalreporter.write_line(remark)
