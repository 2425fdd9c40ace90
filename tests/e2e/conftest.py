"""What the API is asked of: nodes on the profiles for one process, and the production topology through NGINX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.topology import Topology
from kvcore.testing.nodes import NodeProcess, running_node
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from tests.e2e.endpoint import Endpoint


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Give a node on the embedded profile; every test uses keys of its own."""
    path: Path = tmp_path_factory.mktemp("node") / "kvcore.db"
    with running_node({"store.sqlite.path": str(path)}) as node:
        yield node


@pytest.fixture(scope="session")
def memory() -> Iterator[NodeProcess]:
    """Give a node on the memory profile: every write goes through a queue and a worker."""
    with running_node({"profile": "memory"}) as node:
        yield node


@pytest.fixture(scope="session")
def redis_servers(topology: Topology) -> RedisServers:
    """Give the servers of the topology, to tests that start nodes of their own."""
    return topology.redis


@pytest.fixture(scope="session")
def rabbitmq_cluster(topology: Topology) -> RabbitCluster:
    """Give that of the topology."""
    return topology.rabbit


@pytest.fixture(scope="session")
def database(topology: Topology) -> Database:
    """Give that of the topology."""
    return topology.database


@pytest.fixture
def production(request: pytest.FixtureRequest, topology: Topology) -> Endpoint:
    """Give NGINX before the three nodes of the topology; to a test about one process, one of the nodes."""
    one_process = request.node.get_closest_marker("one_process") is not None
    return topology.service.nodes[0] if one_process else topology.proxy


@pytest.fixture(params=["embedded", "memory", "production"])
def node(request: pytest.FixtureRequest) -> Endpoint:
    """Give a node on each profile in turn; in production, NGINX."""
    running: Endpoint = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(node: Endpoint) -> Iterator[httpx.Client]:
    """Give a client of the node, or of NGINX."""
    with httpx.Client(base_url=node.url, timeout=30) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Give a key that no other test uses."""
    return f"test/{request.node.name}"
