"""Exports: every key once, in order; whole under its name, or to be gone on with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import httpx
import pytest
from typing_extensions import Buffer

from kvcore.errors import SettingsError, UnavailableError
from kvcore.model import JSON
from kvcore.transfer import ExportSummary, FileOutput, Patience, StreamOutput, exporting
from kvcore.transfer import export as export_keys
from kvcore.transfer.compression import Plain, decompressed
from kvcore.transfer.lines import item_of
from tests.unit.transfer.fakes import MemoryNode, client_of

KEYS = [f"k/{number:05}" for number in range(5500)]
NAMES = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]


@pytest.fixture
def node() -> MemoryNode:
    """Give a node with keys."""
    node = MemoryNode()
    for key in KEYS:
        node.put(key, b'{"of":"%s"}' % key.encode())
    node.put("other", b"1")
    return node


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a part after a few pages, and a page after fewer keys than the first one has, as large values would."""
    monkeypatch.setattr(exporting, "_PART_BYTES", 200_000)
    monkeypatch.setattr(exporting, "_PAGE_BYTES", 10_000)


def export(node: MemoryNode, path: Path, *, prefix: str = "k/", resume: bool = False) -> ExportSummary:
    """Export into a file."""
    with client_of(node) as client, FileOutput(path, prefix, resume=resume) as output:
        return export_keys(client, output, lambda summary: None, Patience())


def keys_of(path: Path) -> list[str]:
    """Return the keys in a file."""
    with path.open("rb") as file:
        return [item_of(line).key for line in b"".join(decompressed(file)).splitlines()]


def failing_at(count: int, error: BaseException) -> Callable[[httpx.Request], None]:
    """Return what raises at that request."""
    left = [count]

    def before(request: httpx.Request) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error

    return before


@pytest.mark.parametrize("name", NAMES)
def test_an_export_has_every_key_once_and_in_order(node: MemoryNode, tmp_path: Path, name: str) -> None:
    """A second one of the same keys is the same file, and nothing else is left in the folder."""
    summary = export(node, tmp_path / name)
    assert keys_of(tmp_path / name) == KEYS
    assert summary.keys == len(KEYS)
    first = (tmp_path / name).read_bytes()
    export(node, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pages", [0, 1, 3, 6, 8])
def test_an_interrupted_export_goes_on(node: MemoryNode, tmp_path: Path, name: str, pages: int) -> None:
    """Until it is whole there is no file of its name; then it holds what one without interruption does, byte for byte."""
    export(node, tmp_path / f"whole-{name}")
    node.before = failing_at(pages, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        export(node, tmp_path / name)
    assert not (tmp_path / name).exists()
    part = tmp_path / f"{name}.part"
    with part.open("ab") as file:
        file.write(b"what a process has written after it noted where it was" * 20_000)
    node.before = lambda request: None
    node.requests.clear()
    summary = export(node, tmp_path / name, resume=True)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert summary.keys == len(KEYS)
    assert len(node.requests) < 9 or pages < 5
    assert not part.exists()


def test_what_an_earlier_export_has_left_is_not_taken_for_ones_own(node: MemoryNode, tmp_path: Path) -> None:
    """An export that begins anew, and is interrupted before it notes anything, has nothing to go on with; else a line would be cut."""
    path = tmp_path / "out.jsonl"
    for pages in (7, 1):
        node.before = failing_at(pages, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            export(node, path)
        node.put("k/00000", b'"longer than it was before, by enough to be seen"')
    node.before = lambda request: None
    (tmp_path / "out.jsonl.part").write_bytes(b"more than the earlier one had noted" * 10_000)
    export(node, path, resume=True)
    assert keys_of(path) == KEYS


@pytest.mark.parametrize("name", NAMES)
def test_an_export_of_nothing_is_a_whole_file(node: MemoryNode, tmp_path: Path, name: str) -> None:
    """Other programs take a file of 0 bytes with such a name for one that is cut off."""
    assert export(node, tmp_path / name, prefix="none/").keys == 0
    data = (tmp_path / name).read_bytes()
    assert bool(data) == (name != "out.jsonl")
    with (tmp_path / name).open("rb") as file:
        assert b"".join(decompressed(file)) == b""


def test_parts_are_large(node: MemoryNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a flush to the disk and some of the compression: they are ended by their size, not with each page."""
    begun: list[Plain] = []

    def begin() -> Plain:
        begun.append(Plain())
        return begun[-1]

    monkeypatch.setattr(exporting, "part_writer", lambda name: begin)
    export(node, tmp_path / "out.jsonl")
    size_bytes = (tmp_path / "out.jsonl").stat().st_size
    assert 2 <= len(begun) <= size_bytes / 200_000 + 1


def test_an_export_that_fails_leaves_the_old_file(node: MemoryNode, tmp_path: Path) -> None:
    """A backup is replaced by a whole one or not at all."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")
    node.before = failing_at(2, httpx.ConnectError("gone"))
    with pytest.raises(UnavailableError):
        export(node, path)
    assert path.read_bytes() == b"old"


def test_an_export_of_something_else_is_not_gone_on_with(node: MemoryNode, tmp_path: Path) -> None:
    """Another prefix, or a part that was shortened, would give a file with holes."""
    path = tmp_path / "out.jsonl"
    node.before = failing_at(7, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        export(node, path)
    node.before = lambda request: None
    with pytest.raises(SettingsError, match="give the same"):
        export(node, path, prefix="", resume=True)
    (tmp_path / "out.jsonl.part").write_bytes(b"short")
    with pytest.raises(SettingsError, match="shorter"):
        export(node, path, resume=True)
    assert export(node, path).keys == len(KEYS)


def test_white_space_around_json_is_not_lost(node: MemoryNode) -> None:
    """A page of a listing does not have it: such a value is read by itself; one that was deleted meanwhile is left out."""
    node.put("k/1", b" 1\n")
    node.put("k/2", b"\t2")
    out = io.BytesIO()

    def delete(request: httpx.Request) -> None:
        if request.url.path == "/kv/k/2":
            del node.held["k/2"]

    node.before = delete
    with client_of(node) as client:
        export_keys(client, StreamOutput(out, "k/1"), lambda summary: None, Patience())
        export_keys(client, StreamOutput(out, "k/2"), lambda summary: None, Patience())
    items = [item_of(line) for line in out.getvalue().splitlines()]
    assert [(item.key, item.value, item.media_type) for item in items] == [("k/1", b" 1\n", JSON)]


class Bare(io.RawIOBase):
    """A stream without a buffer, which takes a few bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Buffer, /) -> int:
        """Take some."""
        some = bytes(data)[:7]
        self.taken += some
        return len(some)


def test_a_stream_that_takes_little_at_a_time_gets_all(node: MemoryNode) -> None:
    """There is no buffer before stdout with PYTHONUNBUFFERED, as in many containers: what it did not take would be missing."""
    bare = Bare()
    with client_of(node) as client:
        export_keys(client, StreamOutput(cast("IO[bytes]", bare), "k/0000"), lambda summary: None, Patience())
    assert [item_of(line).key for line in bare.taken.splitlines()] == KEYS[:10]


def test_a_file_that_cannot_be_written_is_told(node: MemoryNode, tmp_path: Path) -> None:
    """A folder that is not there is refused in one line."""
    with pytest.raises(SettingsError, match="cannot be written: No such file"):
        export(node, tmp_path / "none" / "out.jsonl")
