"""A file that is read again when it has changed: tokens and keys are exchanged without a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from kvcore.errors import SettingsError

__all__ = ("ReloadedFile",)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_INTERVAL_S: Final = 1.0


class ReloadedFile(Generic[T]):
    """What a file says, as `parse` makes it of its bytes.

    The file is looked at when it is asked for, and at most once a second. One that has vanished or become broken changes
    nothing: what it said last stays in force, `failed` is called, and one line in the log says why, for each such change.
    The file should be small and on a local disk, since nothing else happens while it is read; replace it by renaming
    another one to its name, so that it is never seen half written.
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], T],
        *,
        failed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file for the first time.

        `parse` raises a `SettingsError`, whose message must not repeat what stands in the file.

        Raises:
            SettingsError: it cannot be read, or says nothing that can be understood.
        """
        self._path = Path(path)
        self._parse = parse
        self._failed = failed
        self._clock = clock
        self._look_at = clock() + _INTERVAL_S
        self._seen = self._signature()
        self._content = self._read()

    def content(self) -> T:
        """Return what the file says; the same object until it has changed."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _INTERVAL_S
            signature = self._signature()
            if signature != self._seen:
                self._seen = signature
                self._reload()
        return self._content

    def _reload(self) -> None:
        try:
            self._content = self._read()
        except SettingsError as error:
            self._failed()
            logger.error("%s; what it said before stays in force", error)  # noqa: TRY400 - nothing of ours has failed
        except Exception as error:  # noqa: BLE001 - a fault of the parser; not what it says, there may be a secret in that
            self._failed()
            kind = type(error).__name__
            logger.error("%s makes its reader fail (%s); what it said before stays in force", self._path, kind)  # noqa: TRY400 - see above
        else:
            logger.info("%s has changed and was read again", self._path)

    def _read(self) -> T:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise SettingsError(f"the file {self._path} cannot be read: {error.strerror}") from None
        return self._parse(content)

    def _signature(self) -> tuple[int, ...] | None:
        """Return what is different after every change of the file; None: it is not there."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
