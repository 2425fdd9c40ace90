"""The statements, each in a file of its own, and the migrations in the order of their numbers.

The statements are the same for CockroachDB and PostgreSQL. So are the migrations but for `{text}`: text that sorts by its
bytes. A migration is one statement, which may run twice: there is no lock that both servers have, so two runs at once may
both come to it; and CockroachDB changes schemas in the background, out of any transaction.

Processes of two versions use one schema while an update goes on. So a migration adds, and leaves right what earlier versions
read and write; what no earlier version needs any more is removed by a later release, in a migration whose name says so.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final, LiteralString

import msgspec

from kvcore_store_cockroach.server import Server

__all__ = ("BREAKING", "Migration", "migrations", "statement")

BREAKING: Final = "_breaking"
"""The end of a migration's name after which versions that do not know it cannot use the schema."""
_ORDERED_TEXT: Final[dict[str, LiteralString]] = {"CockroachDB": "STRING", "PostgreSQL": 'TEXT COLLATE "C"'}
_HELPFUL: Final = {
    "0003_row_level_ttl": ("CockroachDB", (22, 2)),
    "0005_answered_ttl": ("CockroachDB", (22, 2)),
}
"""What is done where the server can, and not missed elsewhere: the kind of server, and its first version that can."""


class Migration(msgspec.Struct, frozen=True):
    """A step from one schema to the next. The store works without it unless it is `required`."""

    name: str
    script: LiteralString
    required: bool


@cache
def statement(name: str) -> LiteralString:
    """Return the text of a statement."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def migrations(server: Server) -> tuple[Migration, ...]:
    """Return the migrations for a server, first to last."""
    folder = resources.files(__package__).joinpath("migrations")
    names = sorted(file.name.removesuffix(".sql") for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(
        Migration(name, _for(server, statement(f"migrations/{name}")), name not in _HELPFUL)
        for name in names
        if _is_for(server, name)
    )


def _is_for(server: Server, name: str) -> bool:
    kind, version = _HELPFUL.get(name, (server.kind, (0,)))
    return server.kind == kind and server.version >= version


def _for(server: Server, script: LiteralString) -> LiteralString:
    return script.replace("{text}", _ORDERED_TEXT[server.kind])
