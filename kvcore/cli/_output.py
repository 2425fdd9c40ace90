"""What every command has in common: results on stdout, everything else on stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import typer

from kvcore.errors import SettingsError

if TYPE_CHECKING:
    from kvcore.client import Listed, Value

__all__ = (
    "AsJson",
    "AsJsonLines",
    "ExitCode",
    "Progress",
    "in_line",
    "key_members",
    "note",
    "save",
    "show",
    "shown_key",
    "table",
    "to_stdout",
    "value_members",
    "visible",
    "write_bytes",
)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What does something to a terminal, or turns text around, but for the ends of lines, and tabs."""
_LINE_END: Final = re.compile(r"[\t\n]")
_IN_KEYS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line somewhere, or does something to a terminal."""


class ExitCode(IntEnum):
    """What `kvctl` tells the shell. 130 is Ctrl-C, as everywhere. CONDITION_FAILED: nothing was done, and no server is at fault."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONDITION_FAILED = 4


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print each line as one JSON document.")]


def show(result: Any, text: str, *, as_json: bool) -> None:
    """Print a result on stdout: as text for people, or the same as one line of JSON."""
    if as_json:
        import msgspec

        _print(msgspec.json.encode(result))
    else:
        _print(text)


def note(message: str) -> None:
    """Print a message on stderr. What is in it of a node's answer does nothing to the terminal."""
    typer.echo(f"kvctl: {visible(message)}", err=True)


def visible(text: str) -> str:
    """Return text with what would do something to a terminal written out, but for the ends of lines, and tabs."""
    return _CONTROL.sub(_written_out, text)


def in_line(text: str) -> str:
    """Return text as a part of a line, with ends of lines, tabs, and what would do something to a terminal written out."""
    return _LINE_END.sub(_written_out, visible(text))


def shown_key(key: str) -> str:
    """Return a key as a part of a line: as a JSON string where it would break the line, or look like one, else as it is."""
    return json.dumps(key) if key.startswith('"') or _IN_KEYS.search(key) else key


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines whose columns stand under each other. What is in a cell stays there, and does nothing to the terminal."""
    rows = [tuple(map(in_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _written_out(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def write_bytes(data: bytes) -> None:
    """Write bytes on stdout, and nothing else."""
    _print(data, nl=False)


def save(file: Path, data: bytes) -> None:
    """Write bytes into the file that --output names.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        file.write_bytes(data)
    except OSError as error:
        raise SettingsError(f"--output: cannot write {file}: {error.strerror}") from None


def _print(result: str | bytes, *, nl: bool = True) -> None:
    with to_stdout():
        typer.echo(result, nl=nl)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Say it in one line when stdout cannot be written.

    Raises:
        SettingsError: it cannot.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has seen enough: typer ends the command without a word
    except OSError as error:
        # What is left in the buffer goes nowhere, or it would fail once more at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SettingsError(f"stdout cannot be written: {error.strerror}") from None


def value_members(value: Value) -> dict[str, object]:
    """Return a value as members of a JSON document that is printed on one line; no number loses a digit."""
    import msgspec

    if value.is_json:
        shown: dict[str, object] = {"value": msgspec.Raw(msgspec.json.format(value.data, indent=-1))}
    else:
        shown = {"value_base64": value.data}
    return shown | {"version": value.version, "media_type": value.media_type, "expires_at": value.expires_at}


def key_members(line: Listed) -> dict[str, object]:
    """Return what is known of a key as members of a JSON document, with its value where that is known."""
    head: dict[str, object] = {"key": line.key, "size": line.size_bytes}
    if line.value is not None:
        return head | value_members(line.value)
    return head | {"version": line.version, "media_type": line.media_type, "expires_at": line.expires_at}


class Progress:
    """Shows on stderr how far something is, where that is a terminal, in one line that is gone at the end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = 0

    def at(self, count: int) -> None:
        """Show how many there are so far."""
        if sys.stderr.isatty():
            text = f"{count:,} {self._what}"
            self._shown = len(text)
            typer.echo(f"\r{text}", nl=False, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            typer.echo(f"\r{' ' * self._shown}\r", nl=False, err=True)
