"""One node for the tests of this folder: the embedded profile, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kvcore.testing.nodes import NodeProcess, running_node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Give a running node on the embedded profile; every test uses keys of its own."""
    path: Path = tmp_path_factory.mktemp("node") / "kvcore.db"
    with running_node({"store.sqlite.path": str(path)}) as running:
        yield running
