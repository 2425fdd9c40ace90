"""`kvctl export` and `kvctl import`, as processes, on real nodes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcore.client import Client, Listed, Put
from kvcore.testing.nodes import NodeProcess, running_node

COUNT = 12_000
TIMEOUT_S = 100.0


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Give a node with keys of every kind, and many of them."""
    path = tmp_path_factory.mktemp("origin") / "kvcore.db"
    with running_node({"store.sqlite.path": str(path)}) as node, Client(node.url) as client:
        client.batch([Put(f"many/{number:05}", {"n": number, "text": "x" * 200}) for number in range(COUNT)])
        client.put(
            "odd/ü\n\u2028\x01", b'{"n":1.0,"big":12345678901234567890123,"s":"\\u00e9"}', media_type="application/json"
        )
        client.put("odd/lines", b"[1,\n2]", media_type="application/json")
        client.put("odd/white", b"\t 1\r\n", media_type="application/json")
        client.put("odd/bytes", bytes(range(256)) * 300, media_type="image/png; a=b")
        client.put("odd/empty", b"", media_type="text/plain")
        client.put("odd/null", None)
        client.put("odd/large", "é" * 400_000)
        client.put("odd/soon", "gone", ttl_s=86_400)
        yield node


@pytest.fixture(params=["embedded", "memory"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeProcess]:
    """Give a node without keys, on each profile in turn."""
    path = str(tmp_path / "kvcore.db")
    settings = {"profile": "memory"} if request.param == "memory" else {"store.sqlite.path": path}
    with running_node(settings) as node:
        yield node


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[NodeProcess]:
    """Give a node without keys."""
    with running_node({"store.sqlite.path": str(tmp_path / "destination.db")}) as node:
        yield node


def started(node: NodeProcess, *arguments: str, terminal: bool = False, **options: Any) -> subprocess.Popen[bytes]:
    """Start kvctl; on a terminal of a known kind and width, if on any."""
    environment = os.environ | {"KVCORE_URL": node.url}
    if terminal:
        environment |= {"TERM": "xterm", "COLUMNS": "120", "PYTHONUTF8": "1"}
    environment.pop("KVCORE_TOKEN", None)
    return subprocess.Popen([sys.executable, "-m", "kvcore.cli", *arguments], env=environment, **options)


def kvctl(node: NodeProcess, *arguments: str, code: int = 0, stdin: bytes = b"") -> bytes:
    """Run kvctl to its end, and return what it has printed."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(node, *arguments, **pipes) as process:
        printed, said = process.communicate(stdin, timeout=TIMEOUT_S)
    assert process.returncode == code, said.decode()
    return printed


def summary(node: NodeProcess, *arguments: str, code: int = 0, stdin: bytes = b"") -> dict[str, Any]:
    """Run an import, and return its summary."""
    found: dict[str, Any] = json.loads(kvctl(node, "import", *arguments, "--json", code=code, stdin=stdin))["summary"]
    return found


def held(node: NodeProcess, prefix: str = "") -> dict[str, Listed]:
    """Return all that a node holds."""
    with Client(node.url) as client:
        return {line.key: line for line in client.keys(prefix, values=True)}


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz", "all.jsonl.zst"])
def test_what_is_exported_comes_back_byte_for_byte(
    origin: NodeProcess, destination: NodeProcess, tmp_path: Path, name: str
) -> None:
    """With versions and expiry kept, an export of the second node is the file of the first, to the last byte."""
    first, second = tmp_path / name, tmp_path / f"second-{name}"
    kvctl(origin, "export", "--output", str(first))
    found = summary(destination, str(first), "--keep-versions")
    assert (found["read"], found["written"], found["failed"]) == (COUNT + 8, COUNT + 8, 0)
    kvctl(destination, "export", "--output", str(second))
    assert second.read_bytes() == first.read_bytes()
    again = summary(destination, str(first), "--keep-versions")
    assert again["written"] == COUNT + 8


def test_values_and_media_types_come_back_on_every_profile(origin: NodeProcess, empty: NodeProcess) -> None:
    """Without versions, through a pipe, under another prefix; a time to live goes on, and raw bytes are the same."""
    exported = kvctl(origin, "export", "--prefix", "odd/")
    assert summary(empty, "-", "--prefix", "copy/", stdin=exported)["written"] == 8
    with Client(origin.url) as here, Client(empty.url) as there:
        for key, line in held(origin, "odd/").items():
            one, other = here.get(key), there.get("copy/" + key, wait_s=10)
            assert one is not None
            assert other is not None
            assert (other.data, other.media_type) == (one.data, one.media_type)
            assert (other.expires_at is None) == (line.expires_at is None)
            if one.expires_at is not None and other.expires_at is not None:
                assert abs((other.expires_at - one.expires_at).total_seconds()) < 5


def test_what_is_newer_on_the_node_stays(origin: NodeProcess, destination: NodeProcess, tmp_path: Path) -> None:
    """A backup that is restored with its versions undoes nothing that was written since."""
    path = tmp_path / "all.jsonl"
    kvctl(origin, "export", "--prefix", "many/0000", "--output", str(path))
    with Client(destination.url) as client:
        client.put("many/00003", "newer")
        found = summary(destination, str(path), "--keep-versions")
        assert (found["written"], found["skipped"]["newer"]) == (9, 1)
        value = client.get("many/00003")
        assert value is not None
        assert value.json() == "newer"


def test_failed_lines_are_kept_and_told(destination: NodeProcess, tmp_path: Path) -> None:
    """Exit code 1; each line that a node does not take, or that is none, stands in a file with number and reason."""
    path = tmp_path / "some.jsonl"
    lines = [
        '{"key":"a","value":1}',
        '{"key":"","value":1}',
        '{"key":"d","value":{"a":1,"a":2}}',
        '{"key":"e","value":1e999}',
        "?",
    ]
    lines += ['{"key":"l","value":%s}' % ("[" * 70 + "]" * 70), '{"key":"m","value_base64":"","media_type":"no type"}']
    lines += [json.dumps({"key": "t", "value": 1, "expires_at": "9999-01-01T00:00:00Z"})]
    lines += [json.dumps({"key": "v", "value": "x" * 2_000_000}), '{"key":"b","value":2}']
    path.write_text("\n".join(lines))
    found = summary(destination, str(path), code=1)
    kept = [json.loads(line) for line in (tmp_path / "some.jsonl.failed.jsonl").read_text().splitlines()]
    refused = [line["failed_line"] for line in kept]
    assert (found["read"], found["written"], found["failed"]) == (10, 10 - len(kept), len(kept))
    assert set(held(destination)) - {"e"} == {"a", "b"}
    assert set(refused) | {4} == {2, 3, 4, 5, 6, 7, 8, 9}
    assert all(line["line"] == lines[line["failed_line"] - 1] and line["reason"] for line in kept)


def test_etcd_and_consul_can_be_moved_here(destination: NodeProcess, tmp_path: Path) -> None:
    """What their own tools write is read as it is, also compressed and through a pipe."""
    pairs = [(f"app/{number}", f'{{"n": {number}}}'.encode()) for number in range(3000)]
    etcd = [
        {"key": b64encode(key.encode()).decode(), "value": b64encode(value).decode(), "version": 1}
        for key, value in pairs
    ]
    consul = [{"key": key, "flags": 0, "value": b64encode(value).decode()} for key, value in pairs]
    document = json.dumps({"header": {"revision": 5}, "kvs": etcd, "count": len(etcd)}).encode()
    found = summary(destination, "-", "--prefix", "etcd/", "--media-type", "application/json", stdin=document)
    assert found["written"] == 3000
    (tmp_path / "consul.json").write_bytes(json.dumps(consul, indent="\t").encode())
    assert summary(destination, str(tmp_path / "consul.json"), "--prefix", "consul/")["written"] == 3000
    there = held(destination)
    for key, data in pairs:
        for prefix, media_type in (("etcd/", "application/json"), ("consul/", "application/octet-stream")):
            value = there[prefix + key].value
            assert value is not None
            assert (value.data, value.media_type) == (data, media_type)


# --- interruptions ----------------------------------------------------------------------------------------------------


def killed_when(process: subprocess.Popen[bytes], path: Path, size_bytes: int, number: signal.Signals) -> None:
    """Send a signal as soon as a file is so large, or when the process has ended."""
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size >= size_bytes:
                process.send_signal(number)
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.002)  # between two looks: a file tells nobody that it grows
    process.wait(TIMEOUT_S)


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_export_that_is_killed_again_and_again_ends_as_the_same_file(
    origin: NodeProcess, tmp_path: Path, name: str
) -> None:
    """After `kill -9` at random points, what --resume makes of the rest is what one export without interruption writes."""
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    kvctl(origin, "export", "--output", str(whole))
    chance = random.Random(5)
    for _ in range(4):
        with started(origin, "export", "--output", str(path), "--resume", stderr=subprocess.DEVNULL) as process:
            at = chance.randrange(1, whole.stat().st_size)
            killed_when(process, tmp_path / f"{name}.part", at, signal.SIGKILL)
    kvctl(origin, "export", "--output", str(path), "--resume")
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted((path.name, whole.name))


def test_an_import_that_is_killed_again_and_again_ends_with_the_same_keys(
    origin: NodeProcess, destination: NodeProcess, tmp_path: Path
) -> None:
    """After `kill -9` at random points and --resume the sums, the keys and the failed lines are those of one import."""
    path = tmp_path / "all.jsonl"
    kvctl(origin, "export", "--output", str(path))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[100] = lines[9000] = b"no line\n"
    path.write_bytes(b"".join(lines))
    chance = random.Random(7)
    at = 0
    for _ in range(4):
        at += chance.randrange(200, 2500)  # before the last thousand, which is under way at once with those before it
        key = json.loads(lines[at])["key"]
        with (
            started(
                destination, "import", str(path), "--keep-versions", "--resume", stderr=subprocess.DEVNULL
            ) as process,
            Client(destination.url) as client,
        ):
            while process.poll() is None and client.get(key) is None:
                pass
            process.kill()
            process.wait(TIMEOUT_S)
        assert process.returncode == -signal.SIGKILL
    found = summary(destination, str(path), "--keep-versions", "--resume", code=1)
    assert (found["read"], found["written"], found["failed"]) == (COUNT + 8, COUNT + 6, 2)
    failed = (tmp_path / "all.jsonl.failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["failed_line"] for line in failed] == [101, 9001]
    kvctl(destination, "export", "--output", str(tmp_path / "second.jsonl"))
    del lines[9000], lines[100]
    assert (tmp_path / "second.jsonl").read_bytes() == b"".join(lines)


def test_ctrl_c_says_how_to_go_on(destination: NodeProcess, tmp_path: Path) -> None:
    """An interrupted import keeps its progress, tells its sums, and leaves with 130, like every command."""
    path = tmp_path / "input.jsonl"
    path.write_text("".join(f'{{"key":"{number:06}","value":{number}}}\n' for number in range(60_000)))
    with (
        started(destination, "import", str(path), stderr=subprocess.PIPE) as process,
        Client(destination.url) as client,
    ):
        while process.poll() is None and next(iter(client.keys()), None) is None:
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, said
    assert b"--resume goes on from here" in said
    assert (tmp_path / "input.jsonl.progress").exists()
    assert summary(destination, str(path), "--resume")["read"] == 60_000


def test_whoever_stops_reading_is_not_told_so(origin: NodeProcess) -> None:
    """`kvctl export | head` ends when head does, without a traceback, and not with 0: not all was written."""
    with started(origin, "export", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"key":"many/00000"')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_S) == 1


@pytest.mark.parametrize("prefix", ["", "odd/null"])
def test_stdout_that_takes_nothing_more_is_told(origin: NodeProcess, prefix: str) -> None:
    """On a full disk an export says so in one line and fails; it does not say that all was exported."""
    with (
        Path("/dev/full").open("wb") as full,
        started(origin, "export", "--prefix", prefix, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, said) == (1, b"kvctl: stdout cannot be written: No space left on device\n")


def test_a_terminal_sees_how_far_it_is(origin: NodeProcess, destination: NodeProcess, tmp_path: Path) -> None:
    """On a terminal there is a bar with keys and rate, which is gone at the end; elsewhere there is none."""
    path = tmp_path / "all.jsonl"
    assert "keys/s" in on_a_terminal(origin, "export", "--output", str(path))
    shown = on_a_terminal(destination, "import", str(path))
    assert "━" in shown
    assert "MB" in shown
    with started(destination, "import", str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        printed, said = process.communicate(timeout=TIMEOUT_S)
    assert printed.startswith(b"read 12,008: wrote 12,008")
    assert not {"━", "\x1b", "\r"} & set(said.decode())  # lines, where it takes long


def on_a_terminal(node: NodeProcess, *arguments: str) -> str:
    """Run kvctl with a terminal as stderr, and return what it has shown there."""
    ours, theirs = pty.openpty()
    shown = b""
    with started(node, *arguments, terminal=True, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # Linux answers so when nobody has the other end any more
            while select.select([ours], [], [], TIMEOUT_S)[0] and (data := os.read(ours, 65536)):
                shown += data
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()
