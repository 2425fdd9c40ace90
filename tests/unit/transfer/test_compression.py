"""Compressed files: of several parts, read to the last byte, and cut off nowhere without a word."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import pytest
import zstandard

from kvcore.transfer.compression import DamagedError, decompressed, part_writer

TEXT = b"".join(b"line %d of what is written\n" % number for number in range(5000))


def written(name: str, *parts: bytes) -> bytes:
    """Return a file of several parts."""
    begin = part_writer(name)
    whole = b""
    for text in parts:
        part = begin()
        whole += part.compress(text) + part.flush()
    return whole


def read(data: bytes) -> bytes:
    """Return what a file holds."""
    return b"".join(decompressed(io.BytesIO(data)))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_parts_are_one_file(name: str) -> None:
    """What is written in parts is read as one, and writing the same twice gives the same bytes."""
    assert read(written(name, TEXT, b"", TEXT[:100])) == TEXT + TEXT[:100]
    assert written(name, TEXT) == written(name, TEXT)
    assert read(written(name, b"")) == b""
    assert read(b"") == b""


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("a.gz", gzip.decompress),
        ("a.zst", lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()),
    ],
)
def test_other_programs_read_the_parts_too(name: str, theirs: Callable[[bytes], bytes]) -> None:
    """Several members or frames are what gzip and zstd take for one file."""
    assert theirs(written(name, TEXT, TEXT)) == TEXT + TEXT


def test_what_is_compressed_is_known_by_its_beginning() -> None:
    """A name says nothing to a reader: stdin has none. A file shorter than a beginning is a file."""
    assert read(gzip.compress(TEXT)) == TEXT
    assert read(zstandard.compress(TEXT)) == TEXT
    assert read(b"\x1f") == b"\x1f"


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_file_that_is_cut_off_is_told(name: str) -> None:
    """Wherever it ends before its end, also within its second part, what can be read is, and then it is said."""
    whole = written(name, TEXT, TEXT)
    half = len(whole) // 2
    for end in (5, 20, half - 1, half + 1, half + 5, len(whole) - 1):
        chunks: list[bytes] = []
        with pytest.raises(DamagedError, match="cut off"):
            chunks.extend(decompressed(io.BytesIO(whole[:end])))
        assert (TEXT + TEXT).startswith(b"".join(chunks))


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_file_that_is_damaged_is_told(name: str) -> None:
    """A changed byte is found, by the checksum at the latest."""
    whole = bytearray(written(name, TEXT))
    for at, told in ((len(whole) // 2, "damaged|cut off"), (-1, "damaged")):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        with pytest.raises(DamagedError, match=told):
            read(bytes(broken))


def test_what_blows_up_is_read_in_small_pieces() -> None:
    """A thousandth of its size on disk: no piece is anywhere near the whole."""
    bomb = zlib.compress(bytes(50_000_000), wbits=31)
    assert max(map(len, decompressed(io.BytesIO(bomb)))) < 10_000_000


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_small_file_that_means_a_huge_one_is_read_in_small_pieces(name: str) -> None:
    """What a hostile file of some kilobytes becomes is never in memory as a whole."""
    bomb = written(name, bytes(64 << 20))
    assert len(bomb) < 100_000
    pieces = [len(piece) for piece in decompressed(io.BytesIO(bomb))]
    assert sum(pieces) == 64 << 20
    assert max(pieces) <= 5 << 20


def test_a_file_that_cannot_be_read_to_its_end_is_damaged() -> None:
    """A disk or a network that fails in the midst of it is told like a file that was cut off."""

    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(DamagedError, match="Input/output error"):
        list(decompressed(Failing(b"line\n" * 100)))
