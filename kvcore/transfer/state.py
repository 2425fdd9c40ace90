"""Small files beside large ones that say how far a transfer is, so that it can go on where it was interrupted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from kvcore.errors import SettingsError

__all__ = ("FileIdentity", "identity_of", "load_state", "save_state", "writable")

S = TypeVar("S", bound=msgspec.Struct)

_HEAD_BYTES: Final = 64 * 1024


class FileIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What tells a file from another that has its name."""

    size_bytes: int
    mtime_ns: int
    head_sha256: str


def identity_of(file: IO[bytes]) -> FileIdentity:
    """Return the identity of a file that is open at its beginning, where it stays."""
    status = os.fstat(file.fileno())
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return FileIdentity(
        size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, head_sha256=hashlib.sha256(head).hexdigest()
    )


def save_state(path: Path, state: msgspec.Struct) -> None:
    """Replace a state: at any time the file holds the old one or the new one, also after a power failure.

    Raises:
        SettingsError: the file cannot be written.
    """
    new = path.with_name(path.name + ".new")
    with writable(path):
        with new.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def load_state(path: Path, form: type[S]) -> S | None:
    """Return a state, None where there is none.

    Raises:
        SettingsError: the file is something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=form)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} does not say how far it was: {error}") from None


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say it in one line when a file cannot be written.

    Raises:
        SettingsError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
