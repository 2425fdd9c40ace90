"""The file that is imported, or stdin."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kvcore.errors import SettingsError
from kvcore.transfer.compression import decompressed
from kvcore.transfer.splitting import records
from kvcore.transfer.state import FileIdentity, identity_of

__all__ = ("Source",)


class Source:
    """Gives the records of a file, plain or compressed; `name` "-" is stdin.

    `format` is that of its beginning. `path` and `identity` are None for stdin, which cannot be read again.
    """

    def __init__(self, name: str) -> None:
        self.path = None if name == "-" else Path(name)
        self.identity: FileIdentity | None = None
        try:
            self._file: IO[bytes] = sys.stdin.buffer if self.path is None else self.path.open("rb")
            if self.path is not None:
                self.identity = identity_of(self._file)
            self.format, self.records = records(decompressed(self._file))
        except OSError as error:
            raise SettingsError(f"cannot read {name}: {error.strerror}") from None

    @property
    def size_bytes(self) -> int | None:
        """How large the file is; None: nobody knows."""
        return self.identity.size_bytes if self.identity else None

    def position_bytes(self) -> int:
        """Return how much of the file was read, compressed as it is."""
        return self._file.tell() if self.path is not None else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is not None:
            self._file.close()
