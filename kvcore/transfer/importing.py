"""Writing what a file holds, batch by batch; also going on where that was interrupted.

Records are read in their order, and answered for in their order, though several batches are under way at once: so one
number says how far it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from kvcore.errors import SettingsError
from kvcore.transfer.failed import FailedFile, failed_line
from kvcore.transfer.foreign import consul_item, etcd_item
from kvcore.transfer.lines import Item, UnreadableError, item_of
from kvcore.transfer.seen import Seen
from kvcore.transfer.source import Source
from kvcore.transfer.splitting import Format, Record
from kvcore.transfer.state import FileIdentity, load_state, save_state
from kvcore.transfer.writing import Answer, Writer

__all__ = ("ImportOptions", "ImportSummary", "Importer", "Skipped")

_UNDER_WAY: Final = 2
"""Batches: while a node does one, the next is read. More make no node faster."""
_BATCH_ITEMS: Final = 1000
_BATCH_BYTES: Final = 2 << 20
_SAVE_S: Final = 1.0


class ImportOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to import. `prefix` is put before each key; `media_type` is that of values of etcd and Consul."""

    prefix: str = ""
    keep_versions: bool = False
    media_type: str = "application/octet-stream"
    dry_run: bool = False


class Skipped(msgspec.Struct, kw_only=True):
    """Keys that were not written, and need not be: the time of their lives is over, or the node has a newer version."""

    expired: int = 0
    newer: int = 0


class ImportSummary(msgspec.Struct, kw_only=True):
    """What an import came to: what was read was written, skipped, or failed.

    `bytes`: of the keys and values that were written. `dropped`: what kvcore has nothing for, by its name. `seconds` and
    the rate are of this run, the rest of all that was resumed.
    """

    read: int = 0
    written: int = 0
    skipped: Skipped = msgspec.field(default_factory=Skipped)
    failed: int = 0
    dropped: dict[str, int] = {}
    bytes: int = 0
    seconds: float = 0.0
    keys_per_s: float = 0.0


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far an import is: the first `summary.read` records of a file are answered for."""

    input: FileIdentity
    options: ImportOptions
    summary: ImportSummary
    failed_bytes: int


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A record, and what it holds, or why it holds nothing."""

    record: Record
    kind: Format
    item: Item | None
    reason: str = ""


Planning = list[Planned]


class Importer:
    """Imports a file once.

    `failed` is where lines go that cannot be imported; `progress_path` where the progress is kept, None: nowhere.

    Raises:
        SettingsError: there is nothing to go on with, or it is of another file.
    """

    def __init__(
        self, source: Source, options: ImportOptions, failed_path: Path, progress_path: Path | None, *, resume: bool
    ) -> None:
        self._source = source
        self._options = options
        self._progress_path = progress_path
        progress = self._left() if resume else None
        self.summary = progress.summary if progress else ImportSummary()
        self._done_before = self.summary.read
        self.failed = FailedFile(failed_path, progress.failed_bytes if progress else None)
        self._began_s = self._saved_s = time.monotonic()

    def run(self, writer: Writer, report: Callable[[ImportSummary], object]) -> ImportSummary:
        """Import, and tell `report` after each batch how far it is.

        Raises:
            KvcoreError: the node does not answer any more, or refuses all of it. The progress is kept.
        """
        self._save()  # before any line fails: what is in the file of failed lines is then known to be of this import
        seen = Seen()
        try:
            self._run(writer, seen, report)
        except BaseException:  # such as Ctrl-C: what is done is noted
            self._save()
            raise
        finally:
            self.failed.close()
            seen.close()
        if self._progress_path is not None:
            self._progress_path.unlink(missing_ok=True)
        return self.summary

    def _run(self, writer: Writer, seen: Seen, report: Callable[[ImportSummary], object]) -> None:
        under_way: deque[tuple[Planning, Future[list[Answer]]]] = deque()
        with ThreadPoolExecutor(_UNDER_WAY) as pool:
            try:
                for batch in _batches(self._planned(seen)):
                    items = [planned.item for planned in batch if planned.item is not None]
                    under_way.append((batch, pool.submit(writer.write, items)))
                    if len(under_way) > _UNDER_WAY:
                        self._settle(*under_way.popleft(), report)
                while under_way:
                    self._settle(*under_way.popleft(), report)
            except BaseException:
                writer.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def _planned(self, seen: Seen) -> Iterator[Planned]:
        """Yield the records that are still to be done. The others are read all the same: for the keys in them."""
        for count, record in enumerate(self._source.records, start=1):
            planned = self._plan(record, seen)
            if count > self._done_before:
                yield planned

    def _plan(self, record: Record, seen: Seen) -> Planned:
        kind = self._source.format
        if record.problem:
            return Planned(record, kind, None, record.problem)
        try:
            again = failed_line(record.raw) if kind == "kvcore" else None
            if again is not None:
                record, kind = Record(record.number, again.raw), again.format
            item = self._item(record.raw, kind)
            if not seen.is_new(item.key):
                raise UnreadableError("this key stands in the file before, and that line was taken")
        except UnreadableError as error:
            return Planned(record, kind, None, str(error))
        return Planned(record, kind, item)

    def _item(self, raw: bytes, kind: Format) -> Item:
        match kind:
            case "etcd":
                item = etcd_item(raw, self._options.media_type)
            case "consul":
                item = consul_item(raw, self._options.media_type)
            case _:
                item = item_of(raw)
        if self._options.keep_versions and item.version is None:
            raise UnreadableError("there is no version to keep")
        return msgspec.structs.replace(item, key=self._options.prefix + item.key) if self._options.prefix else item

    def _settle(
        self, batch: Planning, written: Future[list[Answer]], report: Callable[[ImportSummary], object]
    ) -> None:
        """Wait for a batch, and count what became of each of its records."""
        answers = iter(written.result())
        for planned in batch:
            answer = planned.reason if planned.item is None else next(answers)
            self._count(planned, answer)
        self.summary.seconds = time.monotonic() - self._began_s
        self.summary.keys_per_s = (self.summary.read - self._done_before) / self.summary.seconds
        if time.monotonic() - self._saved_s >= _SAVE_S:
            self._save()
        report(self.summary)

    def _count(self, planned: Planned, answer: Answer | str) -> None:
        """Count what became of a record. That it was read comes last: one that an interruption catches here is done again."""
        summary, item = self.summary, planned.item
        if answer == "written" and item is not None:
            summary.written += 1
            summary.bytes += len(item.key.encode()) + len(item.value)
            if item.dropped:
                summary.dropped[item.dropped] = summary.dropped.get(item.dropped, 0) + 1
        elif answer == "expired":
            summary.skipped.expired += 1
        elif answer == "newer":
            summary.skipped.newer += 1
        else:
            self.failed.add(planned.record, planned.kind, str(answer))
            summary.failed += 1
        summary.read += 1

    def _save(self) -> None:
        """Note how far it is: what failed is on the disk before that is said."""
        self._saved_s = time.monotonic()
        if self._progress_path is None or self._source.identity is None:
            return
        self.failed.settle()
        progress = Progress(
            input=self._source.identity,
            options=self._options,
            summary=self.summary,
            failed_bytes=self.failed.size_bytes,
        )
        save_state(self._progress_path, progress)

    def _left(self) -> Progress | None:
        """Return how far an interrupted import of the same file was, None where there was none."""
        progress = self._progress_path and load_state(self._progress_path, Progress)
        if not progress:
            return None
        if progress.input != self._source.identity:
            raise SettingsError(f"{self._progress_path} is of another file, or of this one before it was changed")
        if progress.options != self._options:
            raise SettingsError(f"{self._progress_path} is of an import with other options: give the same")
        return progress


def _batches(planned: Iterator[Planned]) -> Iterator[Planning]:
    """Yield as many at a time as go into a request."""
    batch: Planning = []
    size = 0
    for one in planned:
        if batch and (len(batch) == _BATCH_ITEMS or size + len(one.record.raw) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.record.raw)
    if batch:
        yield batch
