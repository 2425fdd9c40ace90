"""The file of what could not be imported: each line as it was, with its number and the reason, to be imported again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import UNSET, UnsetType

from kvcore.errors import SettingsError
from kvcore.transfer.lines import UnreadableError
from kvcore.transfer.splitting import Format, Record
from kvcore.transfer.state import writable

__all__ = ("FailedFile", "FailedLine", "failed_line")


class FailedLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line, or element of an array, that was not imported: as text, or in base64 where it is none."""

    failed_line: int
    reason: str
    format: Format = "kvcore"
    line: str | UnsetType = UNSET
    line_base64: bytes | UnsetType = UNSET

    @property
    def raw(self) -> bytes:
        """The line as it was."""
        return self.line.encode() if isinstance(self.line, str) else self.line_base64 or b""


_BEGINNING: Final = b'{"failed_line":'
_decode: Final = msgspec.json.Decoder(FailedLine).decode


def failed_line(raw: bytes) -> FailedLine | None:
    """Return what a line says of another that failed once; None: it is a line like any other.

    Raises:
        UnreadableError: it begins like one, and is none.
    """
    if not raw.startswith(_BEGINNING):
        return None
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableError(str(error)) from None


class FailedFile:
    """Takes failed lines. It is there once there is one, and goes on behind the first `kept_bytes` of what is there."""

    def __init__(self, path: Path, kept_bytes: int | None) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self.size_bytes = kept_bytes or 0
        if kept_bytes is None and path.exists():
            raise SettingsError(
                f"{path} holds what failed in an earlier import: import it, move it away or delete it, or give --failed"
            )
        if kept_bytes and (not path.exists() or path.stat().st_size < kept_bytes):
            raise SettingsError(
                f"{path} is missing, or shorter than it was when the import was interrupted: bring back what failed until"
                " then, give the same --failed, or begin anew without --resume"
            )
        if kept_bytes is not None and path.exists():
            with writable(path):
                os.truncate(path, kept_bytes)

    def add(self, record: Record, kind: Format, reason: str) -> None:
        """Keep a line.

        Raises:
            SettingsError: it cannot be written.
        """
        try:
            text: str | UnsetType = record.raw.decode()
        except UnicodeDecodeError:
            text = UNSET
        line = FailedLine(
            failed_line=record.number,
            reason=reason,
            format=kind,
            line=text,
            line_base64=record.raw if text is UNSET else UNSET,
        )
        with writable(self.path):
            if self._file is None:
                self._file = self.path.open("ab")
            self.size_bytes += self._file.write(msgspec.json.encode(line) + b"\n")

    def settle(self) -> None:
        """Bring to the disk what was kept."""
        if self._file is not None:
            with writable(self.path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self.settle()
            self._file.close()
