"""Cutting what is read into records, while it arrives: lines, or the elements of one large JSON array.

A record is not parsed here, and stays the bytes that it is. So one that is wrong costs only itself, and can be kept as it
was. The arrays of etcd and Consul have flat objects: a regular expression finds their ends in C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Literal

import msgspec

from kvcore.transfer.compression import DamagedError

__all__ = ("MAX_RECORD_BYTES", "Format", "Record", "records")

Format = Literal["kvcore", "etcd", "consul"]

MAX_RECORD_BYTES: Final = 16 << 20
"""What is longer is skipped, and told. A batch of a node is half as long by default."""

_BEGINNING: Final = re.compile(rb'\s*+(?:(\[)|\{\s*+"([a-z_]++)"|[^\s{[]|\{\s*+[^\s"])')
_ETCD_MEMBERS: Final = (b"header", b"kvs", b"count", b"more")
_KVS: Final = re.compile(rb'"kvs"\s*+:\s*+\[')
_ARRAY: Final = re.compile(rb"\s*+\[")
_BETWEEN: Final = re.compile(rb"[\s,]*+")
_FLAT: Final = re.compile(rb'\{(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_HEAD_BYTES: Final = 64 * 1024
_TOO_LONG: Final = f"longer than {MAX_RECORD_BYTES >> 20} MiB"
_STRAY: Final = re.compile(rb"[^{\]]++")
_TAIL: Final = re.compile(rb'\](\s*+,\s*+"\w+"\s*+:\s*+\w++)*+\s*+\}?+\s*+')
_MORE: Final = re.compile(rb'"more"\s*+:\s*+true')


class Record(msgspec.Struct, frozen=True, gc=False):
    """A line or element, counted from 1, as it was. `problem`: why it cannot be read whole, or nothing."""

    number: int
    raw: bytes
    problem: str = ""


class Chunks:
    """What is read, chunk by chunk, until its end, or until nothing more can be read: `damage` says why."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.damage = ""

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except DamagedError as error:
            self.damage = str(error)


def records(read: Iterator[bytes]) -> tuple[Format, Iterator[Record]]:
    """Return the format of what is read, by its beginning, and its records."""
    source = Chunks(read)
    chunks = iter(source)
    head, found = b"", None
    while not found and len(head) < _HEAD_BYTES and (chunk := next(chunks, b"")):
        head += chunk
        found = _BEGINNING.match(head)
    rest = chain([head], chunks)
    if found and found[1]:
        return "consul", _elements(rest, source, _ARRAY)
    if found and found[2] in _ETCD_MEMBERS:
        return "etcd", _elements(rest, source, _KVS)
    return "kvcore", _lines(rest, source)


def _lines(chunks: Iterable[bytes], source: Chunks) -> Iterator[Record]:
    """Yield the lines that are not empty."""
    number, rest, skipping = 1, b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if skipping:
                skipping = False
            elif line.strip():
                yield Record(number, line)
            number += 1
        if len(rest) > MAX_RECORD_BYTES:
            if not skipping:
                yield Record(number, b"", _TOO_LONG)
            rest, skipping = b"", True
    if source.damage:
        yield Record(number, rest, source.damage)
    elif rest.strip() and not skipping:
        yield Record(number, rest, "" if rest.rstrip().endswith(b"}") else "the file ends within this line")


def _elements(chunks: Iterable[bytes], source: Chunks, opening: re.Pattern[bytes]) -> Iterator[Record]:
    """Yield the elements of the array that begins with `opening`; there may be none at all."""
    number, buffer, is_open, is_over = 0, b"", False, False
    for chunk in chunks:
        if is_over:
            buffer += chunk[: _HEAD_BYTES - len(buffer)]
            continue
        buffer += chunk
        if not is_open:
            begins = opening.search(buffer)
            is_open = begins is not None
            buffer = buffer[begins.end() :] if begins else buffer
        if is_open:
            found, buffer, is_over = _whole_elements(buffer)
            for number, raw in enumerate(found, start=number + 1):  # noqa: B020 - it counts on
                yield Record(number, raw)
        if len(buffer) > MAX_RECORD_BYTES and not is_over:
            yield Record(number + 1, b"", f"{_TOO_LONG}, and where it ends nobody knows: nothing behind it was read")
            return
    problem = source.damage or _end_problem(buffer, is_open=is_open, is_over=is_over)
    if problem:
        yield Record(number + 1, buffer, problem)


def _whole_elements(buffer: bytes) -> tuple[list[bytes], bytes, bool]:
    """Return the elements that are there to their ends, what stands behind them, and whether that ends the array."""
    found: list[bytes] = []
    at = 0
    while True:
        at = _end(_BETWEEN, buffer, at)
        if buffer[at : at + 1] == b"]":
            return found, buffer[at:], True
        is_object = buffer[at : at + 1] == b"{"
        end = _end(_FLAT if is_object else _STRAY, buffer, at)
        if end >= len(buffer) or (is_object and buffer[end : end + 1] == b'"'):
            return found, buffer[at:], False
        end += is_object  # its last bracket, or one that should not be there
        found.append(buffer[at:end])
        at = end


def _end_problem(tail: bytes, *, is_open: bool, is_over: bool) -> str:
    """Return what is wrong with the end of a document, if anything."""
    if not is_over:
        return "the file ends within the array" if is_open or not _is_json(tail) else ""
    if _MORE.search(tail):
        return "etcd says that there are more keys: export them without --limit"
    return "" if _TAIL.fullmatch(tail) else "something stands behind the array, and was not read"


def _end(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    """Return where what matches from `at` on ends."""
    found = pattern.match(buffer, at)
    return found.end() if found else at


def _is_json(document: bytes) -> bool:
    try:
        msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
