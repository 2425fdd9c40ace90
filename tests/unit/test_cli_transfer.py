"""`kvctl export` and `kvctl import` as commands: their options, and what they say."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.cli._meter import Meter
from tests.unit.transfer.fakes import MemoryNode


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    """Give a node that kvctl takes for its own."""
    node = MemoryNode()
    monkeypatch.delenv("KVCORE_TOKEN", raising=False)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda transport, request: node(_read(request)))
    return node


def _read(request: httpx.Request) -> httpx.Request:
    request.read()
    return request


def kvctl(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run kvctl in this process."""
    return CliRunner().invoke(app, arguments, input=stdin)


def test_an_export_to_stdout_says_the_sum_on_stderr(node: MemoryNode) -> None:
    """What is on stdout is lines and nothing else."""
    node.put("a", b"1")
    done = kvctl("export")
    assert [json.loads(line)["key"] for line in done.stdout.splitlines()] == ["a"]
    assert done.stderr.startswith("kvctl: exported 1 keys")


def test_sums_can_be_had_as_json(node: MemoryNode, tmp_path: Path) -> None:
    """With --json a command prints its summary as one document."""
    node.put("a", b"1")
    path = str(tmp_path / "out.jsonl")
    exported = json.loads(kvctl("export", "--output", path, "--json").stdout)
    assert (exported["file"], exported["summary"]["keys"], exported["summary"]["bytes"]) == (path, 1, 2)
    done = json.loads(kvctl("import", path, "--json").stdout)
    assert (done["file"], done["failed_file"], done["summary"]["written"]) == (path, None, 1)


def test_what_fails_is_told_with_the_file_that_has_it(node: MemoryNode, tmp_path: Path) -> None:
    """Exit code 1, the sums on stdout as ever, and on stderr where the lines are: beside the file, or where --failed says."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"key":"a","value":1}\nno\n')
    done = kvctl("import", str(path))
    assert (done.exit_code, done.stdout.startswith("read 2: wrote 1 ")) == (1, True)
    assert done.stderr == f"kvctl: 1 lines were not imported; they and the reasons are in {path}.failed.jsonl\n"
    assert kvctl("import", "-", "--failed", str(tmp_path / "other"), stdin=path.read_bytes()).exit_code == 1
    assert json.loads((tmp_path / "other").read_bytes())["line"] == "no"


def test_a_dry_run_stands_in_no_imports_way(node: MemoryNode, tmp_path: Path) -> None:
    """What would fail is kept under a name of its own, anew each time; the import that follows keeps what does fail."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"key":"a","value":1}\nno\n')
    for _ in range(2):
        assert kvctl("import", str(path), "--dry-run").exit_code == 1
    kept = [len(one.read_bytes().splitlines()) for one in tmp_path.glob("*.failed.jsonl")]
    assert (kept, node.held) == ([1], {})
    assert kvctl("import", str(path)).stdout.startswith("read 2: wrote 1 ")


def test_a_server_that_is_no_node_fails_no_lines(
    node: MemoryNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else listens there refuses every line: that is said once, and the file is not to blame."""
    page = httpx.Response(404, text="not found")
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda transport, request: page)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"key":"a","value":1}\n')
    done = kvctl("import", str(path))
    assert (done.exit_code, "is it a node?" in done.stderr) == (1, True)
    assert [one.name for one in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export", "--json"), "goes with --output"),
        (("export", "--resume"), "goes with --output"),
        (("import", "-", "--resume"), "stdin cannot be read again"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(arguments: tuple[str, ...], told: str) -> None:
    """What cannot be done is said before anything is."""
    done = kvctl(*arguments)
    assert (done.exit_code, told in done.stderr) == (2, True)


def test_away_from_a_terminal_a_line_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Every ten seconds there is one, and a transfer that is over before says nothing."""
    now_s = [0.0]
    with Meter("read", 100, clock=lambda: now_s[0]) as meter:
        for second in range(25):
            now_s[0] = second
            meter.at(second * 1000, 1000.0, second)
    assert capsys.readouterr().err.splitlines() == [
        "kvctl: read 10,000 keys so far, 1,000 keys/s",
        "kvctl: read 20,000 keys so far, 1,000 keys/s",
    ]
