"""Imports: everything that is read is written, skipped or failed, and an import goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from kvcore.errors import KvcoreError, SettingsError, UnavailableError
from kvcore.model import JSON
from kvcore.transfer import Importer, ImportOptions, ImportSummary, Patience, Source, Writer
from kvcore.transfer.lines import Item
from kvcore.transfer.seen import Seen
from kvcore.transfer.writing import Answer
from tests.unit.transfer.fakes import MemoryNode, client_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OLD, NEW = "0198f3a7c2d10000a1b2c3d4", "0298f3a7c2d10000a1b2c3d4"


@pytest.fixture
def node() -> MemoryNode:
    """Give a node without keys."""
    return MemoryNode()


class Import:
    """Imports a file into a node, as the command does."""

    def __init__(self, node: MemoryNode, path: Path) -> None:
        self.path = path
        self.failed = path.with_name("failed.jsonl")
        self.progress = path.with_name("progress")
        self._node = node

    def __call__(
        self,
        data: bytes | None = None,
        *,
        resume: bool = False,
        writer: Writer | None = None,
        report: Callable[[ImportSummary], object] = lambda summary: None,
        **options: object,
    ) -> ImportSummary:
        """Import what the file holds, or is to hold."""
        if data is not None:
            self.path.write_bytes(data)
        chosen = ImportOptions(**options)  # type: ignore[arg-type]  # as the test gives them
        with Source(str(self.path)) as source, client_of(self._node) as client:
            importer = Importer(source, chosen, self.failed, self.progress, resume=resume)
            writer = writer or Writer(
                None if chosen.dry_run else client, Patience(), keep_versions=chosen.keep_versions, now_s=NOW.timestamp
            )
            return importer.run(writer, report)

    def failures(self) -> list[tuple[int, str]]:
        """Return number and reason of the lines that have failed."""
        lines = self.failed.read_bytes().splitlines() if self.failed.exists() else []
        return [(line["failed_line"], line["reason"]) for line in map(json.loads, lines)]


@pytest.fixture
def run(node: MemoryNode, tmp_path: Path) -> Import:
    """Give what imports a file."""
    return Import(node, tmp_path / "input.jsonl")


def line(key: str, **members: object) -> bytes:
    """Return a line for a key."""
    return json.dumps({"key": key, "value": 1, **members}).encode() + b"\n"


def test_what_is_read_is_written_byte_for_byte(node: MemoryNode, run: Import) -> None:
    """JSON keeps its digits and the white space around it, bytes their media type; nothing is left beside the file."""
    summary = run(
        b'{"key":"a","value":{"n":1.0}}\n'
        b'{"key":"b","value_base64":"IDEg","media_type":"application/json"}\n'
        b'{"key":"c","value_base64":"AP8=","media_type":"image/png"}\n'
    )
    assert {key: (value.data, value.media_type) for key, value in node.held.items()} == {
        "a": (b'{"n":1.0}', JSON),
        "b": (b" 1 ", JSON),
        "c": (b"\x00\xff", "image/png"),
    }
    assert (summary.read, summary.written, summary.failed, summary.bytes) == (3, 3, 0, 3 + 9 + 3 + 2)
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_every_line_that_fails_is_kept_with_its_number_and_the_reason(node: MemoryNode, run: Import) -> None:
    """One that cannot be read, is there twice, or that the node refuses, alone or with its whole batch; the others are written."""
    node.refuses, node.forbids = {"spoils"}, {"secret/1"}
    summary = run(
        line("a")
        + b"{nonsense\n\n"
        + line("spoils")
        + line("a")
        + line("secret/1")
        + b'{"key":"\xff"}\n'
        + line("b")[:-4]
        + b"\n"
        + line("c")
        + b'{"key":"d"'
    )
    assert sorted(node.held) == ["a", "c"]
    assert (summary.read, summary.written, summary.failed) == (9, 2, 7)
    found = dict(run.failures())
    assert list(found) == [2, 4, 5, 6, 7, 8, 10]
    assert "malformed" in found[2]
    assert "not to our taste" in found[4]
    assert "stands in the file before" in found[5]
    assert found[6] == "no"
    assert "not UTF-8" in found[7]
    assert "truncated" in found[8]
    assert "ends within this line" in found[10]


def test_failed_lines_can_be_imported_again(node: MemoryNode, run: Import, tmp_path: Path) -> None:
    """The file of failed lines is read like any other, whatever format the lines had; those that fail again are as they were."""
    node.refuses = {"a", "e"}
    run(line("a") + b"\xff\n")
    first = run.failed.read_bytes()
    again = Import(node, tmp_path / "again.jsonl")
    again.failed = tmp_path / "again.failed"
    node.refuses = set()
    summary = again(first)
    assert (summary.written, summary.failed, list(node.held)) == (1, 1, ["a"])
    assert json.loads(again.failed.read_bytes())["line_base64"] == json.loads(first.splitlines()[1])["line_base64"]
    node.refuses = {"e"}
    etcd = Import(node, tmp_path / "etcd.json")
    etcd.failed = tmp_path / "etcd.failed"
    assert etcd(b'{"header":{},"kvs":[{"key":"ZQ==","value":"MQ=="}],"count":1}').failed == 1
    node.refuses = set()
    again.failed.unlink()
    assert again(etcd.failed.read_bytes()).written == 1
    assert node.held["e"].data == b"1"


def test_an_earlier_file_of_failed_lines_is_not_overwritten(run: Import) -> None:
    """What failed once would be lost: the import does not begin."""
    run(b"no\n")
    with pytest.raises(SettingsError, match="earlier import"):
        run(line("a"))


def test_a_time_to_live_goes_on(node: MemoryNode, run: Import) -> None:
    """What remains of it is kept, in whole seconds; what has expired is left out and counted."""
    times = {"later": 90.5, "soon": 0.2, "now": 0, "past": -5}
    summary = run(b"".join(line(key, expires_at=(NOW + timedelta(seconds=s)).isoformat()) for key, s in times.items()))
    assert node.ttls == {"later": 91, "soon": 1}
    assert (summary.written, summary.skipped.expired, summary.failed) == (2, 2, 0)


def test_versions_are_kept_where_that_is_asked_for(node: MemoryNode, run: Import) -> None:
    """Version and expiry are those of the file, what is newer on the node stays, and a line without a version fails."""
    node.put("newer", b"0")
    node.held["newer"] = node.held["newer"].__class__(data=b"0", media_type=JSON, version=NEW)
    ends = NOW + timedelta(days=1)
    summary = run(
        line("a", version=OLD, expires_at=ends.isoformat()) + line("newer", version=OLD) + line("none"),
        keep_versions=True,
    )
    assert (node.held["a"].version, node.held["a"].expires_at) == (OLD, ends)
    assert (node.held["newer"].data, node.held["newer"].version) == (b"0", NEW)
    assert (summary.read, summary.written, summary.skipped.newer, summary.failed) == (3, 1, 1, 1)
    assert run.failures() == [(3, "there is no version to keep")]
    assert "/batch" not in node.requests


def test_etcd_and_consul_are_read_by_their_beginning(node: MemoryNode, run: Import) -> None:
    """Values have the media type that is asked for, keys a prefix; what kvcore has nothing for is counted as dropped."""
    consul = b'[{"key":"a","flags":7,"value":"MQ=="},{"key":"b","flags":0,"value":"eA=="}]'
    summary = run(consul, prefix="consul/")
    assert {key: (value.data, value.media_type) for key, value in node.held.items()} == {
        "consul/a": (b"1", "application/octet-stream"),
        "consul/b": (b"x", "application/octet-stream"),
    }
    assert (summary.written, summary.dropped) == (2, {"flags": 1})
    assert run(
        b'{"header":{},"kvs":[{"key":"/w=="},{"key":"ZQ==","lease":5,"value":"MQ=="}]}', media_type=JSON
    ).dropped == {"leases": 1}
    assert (node.held["e"].data, node.held["e"].media_type) == (b"1", JSON)
    assert run.failures() == [(1, "the key is not UTF-8, and keys of kvcore are text")]


def test_a_dry_run_writes_nothing(node: MemoryNode, run: Import) -> None:
    """It counts what would be written, and tells what would fail before anything is sent."""
    summary = run(line("a") + b"no\n", dry_run=True)
    assert (summary.written, summary.failed, node.requests) == (1, 1, [])


def test_batches_are_bounded_by_bytes_and_by_count(node: MemoryNode, run: Import) -> None:
    """A thousand small keys are a request, and large values far fewer."""
    run(b"".join(line(f"k{number}") for number in range(2001)))
    assert node.requests.count("/batch") == 3
    node.requests.clear()
    run(b"".join(line(f"k{number}", value="x" * 500_000) for number in range(8)))
    assert node.requests.count("/batch") == 2


def test_batches_are_under_way_at_once(node: MemoryNode, run: Import) -> None:
    """While a node does one, the next is there already: each of two waits for the other."""
    barrier = Barrier(2, timeout=20)

    def wait(request: httpx.Request) -> None:
        barrier.wait()

    node.before = wait
    assert run(b"".join(line(f"k{number}") for number in range(2000))).written == 2000


# --- interruptions ----------------------------------------------------------------------------------------------------


class Failing(Writer):
    """Writes until so many items are reached, and then raises."""

    def __init__(self, node: MemoryNode, at: int, error: BaseException) -> None:
        super().__init__(client_of(node), Patience(), keep_versions=False, now_s=NOW.timestamp)
        self._left = at
        self._error = error

    def write(self, items: Sequence[Item]) -> list[Answer]:
        """Write, or raise."""
        self._left -= len(items)
        if self._left < 0:
            raise self._error
        return super().write(items)


@pytest.mark.parametrize("error", [UnavailableError("no node"), KeyboardInterrupt()])
def test_an_interrupted_import_goes_on_where_it_was(node: MemoryNode, run: Import, error: BaseException) -> None:
    """Everything before it is answered for and not sent again; the sums and the failed lines are those of both together."""
    lines = [line(f"k{number}") for number in range(4500)]
    lines[10] = lines[4000] = b"no\n"
    lines[4400] = lines[5]
    with pytest.raises(type(error)):
        run(b"".join(lines), writer=Failing(node, 2000, error))
    sent = set(node.held)
    assert 0 < len(sent) < 2500
    node.held.clear()
    summary = run(resume=True)
    assert not sent & set(node.held)
    assert len(sent) + len(node.held) == 4497
    assert (summary.read, summary.written, summary.failed) == (4500, 4497, 3)
    assert [number for number, _ in run.failures()] == [11, 4001, 4401]
    assert not run.progress.exists()


def test_lines_that_failed_after_the_progress_was_noted_are_not_kept_twice(node: MemoryNode, run: Import) -> None:
    """A process that is killed leaves more in the file of failed lines than the progress says: that is taken away."""
    with pytest.raises(UnavailableError):
        run(
            b"no\n" + b"".join(line(f"k{number}") for number in range(3000)),
            writer=Failing(node, 1500, UnavailableError("")),
        )
    with run.failed.open("ab") as file:
        file.write(b'{"failed_line":1500,"rea')
    run(resume=True)
    assert [number for number, _ in run.failures()] == [1]


def test_a_failed_line_that_cannot_be_kept_is_not_answered_for(node: MemoryNode, run: Import, tmp_path: Path) -> None:
    """A full disk, say, ends the import: what goes on then keeps the line, and counts it once."""
    run.failed = tmp_path / "none" / "failed.jsonl"
    with pytest.raises(SettingsError, match="cannot be written"):
        run(line("a") + b"no\n" + line("b"))
    run.failed.parent.mkdir()
    summary = run(resume=True)
    assert [number for number, _ in run.failures()] == [2]
    assert (summary.read, summary.written, summary.failed) == (3, 2, 1)


def test_an_import_does_not_go_on_without_the_lines_that_failed_before(node: MemoryNode, run: Import) -> None:
    """They were moved away, or are in another file: what is cut to its old length would get holes, and the sums be wrong."""
    data = b"no\n" + b"".join(line(f"k{number}") for number in range(3000))
    with pytest.raises(UnavailableError):
        run(data, writer=Failing(node, 1500, UnavailableError("")))
    kept = run.failed.read_bytes()
    run.failed.write_bytes(kept[:-1])
    with pytest.raises(SettingsError, match="shorter"):
        run(resume=True)
    run.failed.unlink()
    with pytest.raises(SettingsError, match="--failed"):
        run(resume=True)
    run.failed.write_bytes(kept)
    assert run(resume=True).failed == 1


def test_progress_is_there_before_anything_is_done(node: MemoryNode, run: Import) -> None:
    """A process may be killed at any time: what it has left is known to be of this import from the first line on."""
    there = []
    run(b"no\n" + line("a"), report=lambda summary: there.append(run.progress.exists()))
    assert there == [True]


def test_progress_counts_for_the_same_file_and_options_alone(node: MemoryNode, run: Import) -> None:
    """Another file under the name, a changed one, or another prefix: lines would be left out without a word."""
    data = b"".join(line(f"k{number}") for number in range(3000))
    with pytest.raises(UnavailableError):
        run(data, writer=Failing(node, 1500, UnavailableError("")))
    with pytest.raises(SettingsError, match="other options"):
        run(resume=True, prefix="other/")
    with pytest.raises(SettingsError, match="another file"):
        run(data + line("more"), resume=True)
    run.progress.write_bytes(b"{}")
    with pytest.raises(SettingsError, match="does not say how far"):
        run(resume=True)


def test_without_progress_resume_begins_anew(node: MemoryNode, run: Import) -> None:
    """There is nothing to go on with: that is no error, so that a script may always say --resume."""
    assert run(line("a"), resume=True).written == 1


def test_a_node_that_refuses_the_caller_ends_it_at_once(node: MemoryNode, run: Import) -> None:
    """A wrong token fails each line alike: they are no failed lines, and the import can go on with another token."""

    def refuse(request: httpx.Request) -> None:
        raise httpx.ConnectError("gone")

    node.before = refuse
    with pytest.raises(KvcoreError, match="no node answers"):
        run(line("a"))
    assert run.failures() == []
    node.before = lambda request: None
    assert run(resume=True).written == 1


def test_whoever_waits_is_woken_when_it_is_stopped() -> None:
    """A sleep between two attempts ends with an error once nobody wants them any more."""
    patience = Patience()
    patience.sleep(0)
    patience.stop()
    with pytest.raises(UnavailableError, match="stopped"):
        patience.sleep(3600)


def test_keys_are_remembered_however_many(tmp_path: Path) -> None:
    """Each is new once, in whichever order; those with NUL in them are told apart."""
    seen = Seen()
    keys = [f"key {number * 7919 % 10_007}" for number in range(10_007)] + ["a\0b", "a\0c", "a"]
    assert all(map(seen.is_new, keys))
    assert not any(map(seen.is_new, keys))
    seen.close()


def test_a_folder_that_has_no_room_for_the_keys_is_told() -> None:
    """It is the one for temporary files, which whoever imports may not think of."""
    seen = Seen()
    seen._database.execute("PRAGMA max_page_count = 4")
    with pytest.raises(SettingsError, match="TMPDIR"):
        list(map(seen.is_new, map(str, range(100_000))))
    seen.close()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file and a folder are refused in one line."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match="cannot read"), Source(str(path)):
            pass
