"""The production topology as a fixture, for tests that ask it through NGINX."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deploy.local.topology import Topology
from kvcore.testing.servers import MissingServerError


@pytest.fixture(scope="session")
def topology() -> Iterator[Topology]:
    """Give three nodes behind NGINX, two workers, and all the servers that production has."""
    try:
        topology = Topology()
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))  # the message names what to install; with CI set it has failed above
    with topology:
        yield topology
