"""The production topology as a fixture, for tests that ask it through NGINX."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.topology import Topology
from kvcore.testing.fixtures import required


@pytest.fixture(scope="session")
def topology() -> Iterator[Topology]:
    """Give three nodes behind NGINX, two workers, and all the servers that production has."""
    topology = required(Topology)
    with topology:
        yield topology
