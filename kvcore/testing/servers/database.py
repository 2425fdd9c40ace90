"""The database: what CockroachDB and PostgreSQL have in common, and which of them is taken."""

from __future__ import annotations

from abc import abstractmethod
from itertools import count
from pathlib import Path
from typing import ClassVar

from kvcore.testing.servers.group import ServerGroup
from kvcore.testing.servers.process import ServerProcess

__all__ = ("Database",)


class Database(ServerGroup):
    """A database that speaks PostgreSQL's protocol.

    Attributes:
        kind: "cockroachdb" or "postgresql".
        nodes: Its servers, of equal rank.
        user: Who may do everything.
        password: The user's password, None if there is none.
        database: A database that is there, and empty at first.
    """

    user: str
    password: str | None
    database: ClassVar[str] = "kvcore"
    nodes: tuple[ServerProcess, ...]

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._numbers = count(1)

    @property
    def hosts(self) -> list[str]:
        """Where the nodes listen, such as ["127.0.0.1:5432"]."""
        return [node.address for node in self.nodes]

    def create_database(self) -> str:
        """Make an empty database and return its name, which no earlier call has returned.

        Raises:
            ServerError: no node answers.
        """
        name = f"{self.database}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    @abstractmethod
    def execute(self, statement: str) -> str:
        """Run one SQL statement on a living node, outside a transaction, and return the rows that it prints.

        Raises:
            ServerError: no node answers, or the statement has failed.
        """
