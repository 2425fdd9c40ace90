"""gzip and zstd, by the end of a file's name: written in parts that stand for themselves, read to the very end.

A file is a sequence of gzip members or zstd frames, which every reader takes for one. So writing can go on behind any of
them, and a reader knows that none is cut.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol

import zstandard

__all__ = ("DamagedError", "Part", "decompressed", "part_writer")

_GZIP_WBITS: Final = 31
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_READ_BYTES: Final = 256 * 1024
_GZIP_BYTES: Final = 4 * 1024
_ZSTD_BYTES: Final = 128
"""Read at once of what is compressed, so that 4 MiB at most become of it. Deflate makes up to 1,032 bytes of one
(https://www.zlib.net/zlib_tech.html), zstd a block of 128 KiB of four (RFC 8878, section 3.1.1.2)."""


class DamagedError(Exception):
    """From here on nothing can be read; the message says why."""


class Part(Protocol):
    """A gzip member or zstd frame that is being written."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what there is to write so far."""

    def flush(self) -> bytes:
        """Return the rest, with which the part is whole."""


class Plain:
    """Text that is written as it is."""

    def compress(self, data: bytes, /) -> bytes:
        """Return it."""
        return data

    def flush(self) -> bytes:
        """Return nothing."""
        return b""


class Decompressor(Protocol):
    """What reads one gzip member or zstd frame."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return what the data means."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind the end."""


def part_writer(name: str) -> Callable[[], Part]:
    """Return what begins a new part of a file with this name."""
    match Path(name).suffix:
        case ".gz":
            return lambda: zlib.compressobj(wbits=_GZIP_WBITS)
        case ".zst":
            return lambda: zstandard.ZstdCompressor(write_checksum=True).compressobj()
        case _:
            return Plain


def decompressed(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what a file holds, decompressed if it begins as gzip and zstd do, whatever its name.

    Raises:
        DamagedError: what is compressed is damaged, or cut off.
    """
    # One byte at least, whatever the pipe: more come when they are there.
    head = file.read(len(_ZSTD))
    if head.startswith(_GZIP):
        yield from _parts(file, head, lambda: zlib.decompressobj(wbits=_GZIP_WBITS), _GZIP_BYTES)
    elif head == _ZSTD:
        yield from _parts(file, head, lambda: zstandard.ZstdDecompressor().decompressobj(), _ZSTD_BYTES)
    else:
        while head:
            yield head
            head = _some(file, _READ_BYTES)


def _parts(file: IO[bytes], data: bytes, begin: Callable[[], Decompressor], most: int) -> Iterator[bytes]:
    part: Decompressor | None = None
    try:
        while data or (data := _some(file, most)):
            part = part or begin()
            if text := part.decompress(data):
                yield text
            data = part.unused_data if part.eof else b""
            if part.eof:
                part = None
    except (zlib.error, zstandard.ZstdError) as error:
        raise DamagedError(f"the compressed data is damaged: {error}") from None
    if part is not None:
        raise DamagedError("the compressed data ends before its end: it is cut off")


def _some(file: IO[bytes], most: int) -> bytes:
    """Read what is there, instead of waiting until there is as much as asked for."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    try:
        return read(most)
    except OSError as error:
        raise DamagedError(f"it cannot be read: {error.strerror}") from None
