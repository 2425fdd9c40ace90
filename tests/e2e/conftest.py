"""Nodes in processes of their own, one for each profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess, running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers


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
def production(
    redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database
) -> Iterator[NodeProcess]:
    """Give a node on real servers, which a worker in a process of its own drains."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="e2e")
    with running_worker(settings), running_node(settings) as node:
        yield node


@pytest.fixture(params=["embedded", "memory", "production"])
def node(request: pytest.FixtureRequest) -> NodeProcess:
    """Give a node on each profile in turn."""
    running: NodeProcess = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(node: NodeProcess) -> Iterator[httpx.Client]:
    """Give a client of the node."""
    with httpx.Client(base_url=node.url, timeout=30) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Give a key that no other test uses."""
    return f"test/{request.node.name}"
