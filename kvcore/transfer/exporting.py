"""Writing all keys with a prefix, one a line, in their order; also going on where that was interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Protocol, Self

import msgspec

from kvcore.client import Client, Listed, Page, Value
from kvcore.errors import SettingsError
from kvcore.transfer.compression import Part, part_writer
from kvcore.transfer.lines import line_of
from kvcore.transfer.patience import Patience
from kvcore.transfer.state import load_state, save_state, writable

__all__ = ("ExportSummary", "FileOutput", "Output", "StreamOutput", "export")

_PAGE_KEYS: Final = 1000
_PAGE_BYTES: Final = 2 << 20
"""About what the values of a page come to, where a node would send more: it is in memory several times."""
_PART_BYTES: Final = 8 << 20
"""Lines of so many bytes make a part, after which an export can go on. Not a time: the same keys give the same bytes."""


class ExportSummary(msgspec.Struct, kw_only=True):
    """What an export came to. `bytes`: of keys and values. `seconds`: of this run, `keys`: of all together."""

    keys: int = 0
    bytes: int = 0
    seconds: float = 0.0
    keys_per_s: float = 0.0


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far an export is: the first `file_bytes` hold `keys` keys, and the rest of the listing begins at `cursor`.

    `page_keys`: how many keys its next page is asked for, since a part ends with a page.
    """

    prefix: str
    cursor: str | None = None
    page_keys: int = _PAGE_KEYS
    file_bytes: int = 0
    keys: int = 0
    bytes: int = 0


class Place(NamedTuple):
    """Where a page begins, and how many keys it is asked for; a cursor None: at the beginning."""

    cursor: str | None
    page_keys: int


class Output(Protocol):
    """Where lines go."""

    start: Checkpoint

    def write(self, line: bytes) -> None:
        """Write a line."""

    def reached(self, place: Place | None, summary: ExportSummary) -> None:
        """Take note that all lines before this place in the listing are written; None: it has no more."""


class StreamOutput:
    """Writes to a stream, such as stdout, which nothing can be taken back from."""

    def __init__(self, stream: IO[bytes], prefix: str) -> None:
        self.start = Checkpoint(prefix=prefix)
        self._stream = stream
        self._lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Keep a line until its page is whole."""
        self._lines.append(line)

    def reached(self, place: Place | None, summary: ExportSummary) -> None:
        """Let whoever reads have the lines."""
        left = memoryview(b"".join(self._lines))
        self._lines.clear()
        while left:
            # With PYTHONUNBUFFERED stdout is a bare file, which may take less than it is given, and only says so.
            left = left[self._stream.write(left) :]
        self._stream.flush()


class FileOutput:
    """Writes a file that is there when it is whole; until then it is `FILE.part`, and `FILE.part.state` says how far it is.

    `resume`: go on with what an interrupted export has left, if anything.

    Raises:
        SettingsError: the file cannot be written, or what is left is of another export.
    """

    def __init__(self, path: Path, prefix: str, *, resume: bool) -> None:
        self.path = path
        self.part_path = path.with_name(path.name + ".part")
        self.state_path = path.with_name(path.name + ".part.state")
        self.start = (resume and self._left(prefix)) or Checkpoint(prefix=prefix)
        self._begin = part_writer(path.name)
        self._part: Part | None = None
        self._in_part = 0
        with writable(self.part_path):
            if not self.start.file_bytes:
                self.state_path.unlink(missing_ok=True)  # of an earlier export: it says nothing of the one that begins
            self._file: IO[bytes] = self.part_path.open("r+b" if self.start.file_bytes else "wb")
            self._file.truncate(self.start.file_bytes)
            self._file.seek(self.start.file_bytes)

    def write(self, line: bytes) -> None:
        """Write a line."""
        self._part = self._part or self._begin()
        self._in_part += len(line)
        with writable(self.part_path):
            self._file.write(self._part.compress(line))

    def reached(self, place: Place | None, summary: ExportSummary) -> None:
        """End the part when it is large enough, so that an export can go on from here."""
        if place is not None and self._in_part >= _PART_BYTES:
            self._end_part()
            state = Checkpoint(
                prefix=self.start.prefix,
                cursor=place.cursor,
                page_keys=place.page_keys,
                file_bytes=self._file.tell(),
                keys=summary.keys,
                bytes=summary.bytes,
            )
            save_state(self.state_path, state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name if all went well; else leave what is there."""
        with self._file:
            if kind is None:
                if self._file.tell() == 0:  # a file of 0 bytes is none of gzip or zstd; an empty part is
                    self._part = self._part or self._begin()
                self._end_part()
        if kind is None:
            with writable(self.path):
                self.part_path.replace(self.path)
                _sync_folder(self.path.parent)
                self.state_path.unlink(missing_ok=True)

    def _end_part(self) -> None:
        with writable(self.part_path):
            if self._part is not None:
                self._file.write(self._part.flush())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._part, self._in_part = None, 0

    def _left(self, prefix: str) -> Checkpoint | None:
        state = load_state(self.state_path, Checkpoint)
        if state is None:
            return None
        if state.prefix != prefix:
            raise SettingsError(f"{self.part_path} is of an export with the prefix {state.prefix!r}: give the same")
        if not self.part_path.exists() or self.part_path.stat().st_size < state.file_bytes:
            raise SettingsError(f"{self.part_path} is shorter than {self.state_path} says: begin anew without --resume")
        return state


def export(
    client: Client, output: Output, report: Callable[[ExportSummary], object], patience: Patience
) -> ExportSummary:
    """Write all keys that begin with the output's prefix, and tell `report` after each page how far it is.

    Each key is as it was when its page was read: an export is no snapshot of all of them.

    Raises:
        KvcoreError: the node does not answer any more, or the output cannot be written.
    """
    start = output.start
    summary, began_s = ExportSummary(keys=start.keys, bytes=start.bytes), time.monotonic()
    for page, following in _pages(client, start, patience):
        for key, value in _values(client, page):
            output.write(line_of(key, value))
            summary.keys += 1
            summary.bytes += len(key.encode()) + len(value.data)
        output.reached(following, summary)
        summary.seconds = time.monotonic() - began_s
        summary.keys_per_s = (summary.keys - start.keys) / summary.seconds
        report(summary)
    return summary


def _pages(client: Client, start: Checkpoint, patience: Patience) -> Iterator[tuple[Page, Place | None]]:
    """Yield pages, each with the place of the next, which is asked for while the page is being written."""

    def ask(place: Place) -> Page:
        return client.page(start.prefix, values=True, limit=place.page_keys, cursor=place.cursor)

    with ThreadPoolExecutor(1) as pool:
        page: Page | None = ask(Place(start.cursor, start.page_keys))
        while page is not None:
            following = None if page.cursor is None else Place(page.cursor, _page_keys_after(page))
            asked = following and pool.submit(ask, following)
            try:
                yield page, following
                page = asked.result() if asked else None
            except BaseException:  # such as Ctrl-C: nobody waits for the page any more
                patience.stop()
                raise


def _page_keys_after(page: Page) -> int:
    """Return how many keys to ask for, by the size of the values that came last."""
    size_bytes = sum(line.size_bytes for line in page.lines)
    return max(1, min(_PAGE_KEYS, _PAGE_BYTES * len(page.lines) // size_bytes)) if size_bytes else _PAGE_KEYS


def _values(client: Client, page: Page) -> Iterator[tuple[str, Value]]:
    for line in page.lines:
        value = line.value if _is_whole(line) else client.get(line.key, from_store=True)
        if value is not None:  # else it was deleted meanwhile
            yield line.key, value


def _is_whole(line: Listed) -> bool:
    """Tell whether a value came with its page as it is: white space around JSON is lost there."""
    return line.value is not None and len(line.value.data) == line.size_bytes


def _sync_folder(folder: Path) -> None:
    """Bring a new name of a file to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
