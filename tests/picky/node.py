"""A node whose store can be told to refuse writes, for tests of dead letters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from kvcore.client import Client
from kvcore.errors import RejectedError
from kvcore.testing.nodes import NodeProcess, running_node

__all__ = ("PASSWORD", "PickyNode", "picky_node")

PASSWORD: Final = "hunter2"  # noqa: S105 - nobody asks for it; it is there to be hidden
_ROOT: Final = Path(__file__).parents[2]


class PickyNode(NamedTuple):
    """A node on the memory profile whose store refuses writes while `reason` is there, which says why."""

    process: NodeProcess
    reason: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.url

    def bury(self, key: str, value: object, reason: str) -> None:
        """Have a write refused, so that it becomes a dead letter."""
        self.reason.write_text(reason, encoding="utf-8")
        try:
            with Client(self.url) as client, pytest.raises(RejectedError):
                client.put(key, value)
        finally:
            self.reason.unlink()


@contextmanager
def picky_node(folder: Path) -> Iterator[PickyNode]:
    """Start a node with the store of `picky.py`, which is installed as a plugin for that node alone."""
    about = folder / "picky_store-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: picky-store\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[kvcore.plugins]\nstore-picky = tests.picky.picky\n")
    reason = folder / "reason"
    settings = {
        "profile": "memory",
        "store.backend": "picky",
        "store.picky.reason": str(reason),
        "store.picky.password": PASSWORD,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(_ROOT))))
        with running_node(settings) as process:
            yield PickyNode(process, reason)
