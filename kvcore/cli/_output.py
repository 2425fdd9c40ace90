"""What every command has in common: results on stdout, everything else on stderr, and the exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any

import typer

__all__ = ("AsJson", "ExitCode", "note", "show", "table")


class ExitCode(IntEnum):
    """What `kvctl` tells the shell. 130 is Ctrl-C, as everywhere."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def show(result: Any, text: str, *, as_json: bool) -> None:
    """Print a result on stdout: as text for people, or the same as one line of JSON."""
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(result))
    else:
        typer.echo(text)


def note(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(f"kvctl: {message}", err=True)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines whose columns stand under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
