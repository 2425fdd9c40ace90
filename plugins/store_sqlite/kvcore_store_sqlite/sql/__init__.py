"""The statements, each in a file of its own, and the migrations in the order of their numbers."""

from __future__ import annotations

from functools import cache
from importlib import resources

__all__ = ("migrations", "statement")


@cache
def statement(name: str) -> str:
    """Return the text of a statement."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def migrations() -> tuple[str, ...]:
    """Return the scripts that bring a database from schema version 0, an empty one, up: the first to 1, and so on."""
    folder = resources.files(__package__).joinpath("migrations")
    scripts = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)
