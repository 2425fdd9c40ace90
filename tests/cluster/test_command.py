"""`python -m deploy.local`, as somebody uses it: all of it comes up, does what it is told, and goes away again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from deploy.local.roster import Entry
from deploy.local.status import Status
from deploy.local.topology import Topology
from kvcore.testing.fixtures import required
from kvcore.testing.servers import ServerError
from kvcore.testing.servers.ports import is_free
from kvcore.testing.servers.process import wait_until
from kvcore.testing.servers.process_tree import Member, is_alive, members

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "deploy.local")
NAMES = {
    "redis": {"redis-1", "redis-2", "redis-3"},
    "sentinels": {"sentinel-1", "sentinel-2", "sentinel-3"},
    "epmd": {"epmd"},
    "rabbitmq": {"rabbitmq-1", "rabbitmq-2", "rabbitmq-3"},
    "workers": {"worker-1", "worker-2"},
    "nodes": {"node-1", "node-2", "node-3"},
    "nginx": {"nginx"},
}


@pytest.fixture(scope="module")
def above() -> Iterator[Path]:
    """Give an empty folder that other users can pass through: where this is root, PostgreSQL runs as one."""
    with tempfile.TemporaryDirectory(prefix="kvcore-command-") as above:
        Path(above).chmod(0o711)
        yield Path(above).resolve()


@pytest.fixture(scope="module")
def folder(above: Path) -> Iterator[Path]:
    """Give a folder that is not there yet, with a path that is too long for the address of a socket, and see that nothing stays of it."""
    required(Topology.check_installed)
    folder = above / ("a-long-name-" * 10)
    yield folder
    run(folder, "down")
    assert not folder.exists()


@pytest.fixture
def running(folder: Path) -> Path:
    """Give the folder of a running topology; the first test that needs it has it started."""
    if run(folder, "status").returncode:
        run(folder, "up", "--detach", check=True)
    return folder


def run(folder: Path, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it has printed."""
    done = subprocess.run(
        [*COMMAND, *words, f"--folder={folder}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def status(folder: Path) -> Status:
    """Ask what runs where."""
    return msgspec.json.decode(run(folder, "status", "--json", check=True).stdout, type=Status)


def entry(folder: Path, name: str) -> Entry:
    """Ask how one process is."""
    return next(found for found in status(folder).processes if found.name == name)


def alive(family: list[Member]) -> list[Member]:
    """List those that still run."""
    return [member for member in family if is_alive(member)]


def test_everything_runs_and_serves_through_nginx(running: Path) -> None:
    """All processes of the topology are there, and what is written through NGINX is read through it."""
    found = status(running)
    by_kind = {kind: {entry.name for entry in found.processes if entry.kind == kind} for kind in NAMES}
    assert by_kind == NAMES
    assert {entry.state for entry in found.processes} == {"running"}
    assert httpx.put(f"{found.url}/kv", content=b'{"data": {"key": "greeting", "value": "hello"}}').is_success
    assert httpx.get(f"{found.url}/kv?key=greeting").json() == {"data": {"value": "hello"}}


def test_a_killed_node_stays_dead_until_it_is_restarted(running: Path) -> None:
    """While it is dead `status` says so and the others serve; afterwards another process has its name and address."""
    before = entry(running, "node-1")
    assert run(running, "kill", "node-1", check=True).stdout == "node-1 is dead\n"
    dead = entry(running, "node-1")
    assert (dead.state, dead.pid, dead.address) == ("dead", None, before.address)
    assert httpx.get(f"{status(running).url}/health/ready").is_success
    assert "node-1 is dead: restart it first" in run(running, "pause", "node-1").stderr
    run(running, "restart", "node-1", check=True)
    after = entry(running, "node-1")
    assert (after.state, after.address) == ("running", before.address)
    assert after.pid != before.pid
    assert httpx.get(f"http://{after.address}/health/ready").is_success


def test_a_paused_worker_stands_still_until_it_is_resumed(running: Path) -> None:
    """`pause` and `resume` are what they say, and `status` tells them apart."""
    worker = entry(running, "worker-2")
    run(running, "pause", "worker-2", check=True)
    assert entry(running, "worker-2") == msgspec.structs.replace(worker, state="paused")
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"http://{worker.address}/health/live", timeout=0.5)
    run(running, "resume", "worker-2", check=True)
    assert entry(running, "worker-2") == worker
    assert httpx.get(f"http://{worker.address}/health/live").is_success


def test_another_redis_takes_over_from_a_killed_master(running: Path) -> None:
    """`status` shows which one the sentinels name, and the one that is restarted has become a replica when that returns."""
    first = next(found.name for found in status(running).processes if found.role == "master")
    run(running, "kill", first, check=True)
    wait_until(
        lambda: any(found.role == "master" and found.name != first for found in status(running).processes),
        within_s=60,
        what="another master",
    )
    run(running, "restart", first, check=True)
    assert entry(running, first).role == "replica"


def test_a_rolling_restart_takes_one_after_the_other(running: Path) -> None:
    """The next one is stopped when the one before is ready, and nothing else is touched."""
    before = {found.name: found.pid for found in status(running).processes}
    said = run(running, "restart", "workers", check=True).stdout.splitlines()
    after = {found.name: found.pid for found in status(running).processes}
    steps = [line.split(",")[0] for line in said]
    assert steps == ["worker-1 stops", "worker-1 is ready", "worker-2 stops", "worker-2 is ready"]
    assert {name for name in before if before[name] != after[name]} == NAMES["workers"]


def test_logs_are_shown_with_the_name_of_whose_they_are(running: Path) -> None:
    """Without names they are those of kvcore and NGINX; nothing in them colours what is no terminal."""
    shown = run(running, "logs", check=True).stdout
    assert {line.split(" ")[0] for line in shown.splitlines()} >= NAMES["nodes"] | NAMES["workers"]
    assert re.search(r"^node-1 +\| .*is ready, process", shown, re.MULTILINE)
    assert "\x1b" not in shown
    assert set(run(running, "logs", "redis-2", check=True).stdout.split("\n")[0].split()[:2]) == {"redis-2", "|"}


def test_a_name_that_nothing_has_is_refused_with_those_that_there_are(running: Path) -> None:
    """Nothing is done, not even to the names that are known."""
    refused = run(running, "kill", "node-2", "node-9")
    assert refused.returncode == 1
    assert "there is no node-9; there is redis-1, " in refused.stderr
    assert entry(running, "node-2").state == "running"


def test_a_second_one_in_the_same_folder_is_refused(running: Path) -> None:
    """It says that one runs already and how to end it, and the first one goes on."""
    before = status(running)
    refused = run(running, "up")
    assert refused.returncode == 1
    assert re.search(rf"one runs already in {running}, process {before.supervisor}: end it with `down`", refused.stderr)
    assert status(running) == before


def test_no_password_is_on_a_command_line(running: Path) -> None:
    """The settings with the passwords are in a file that only their owner can read."""
    found = status(running)
    config = Path(found.config)
    passwords = re.findall(r'password = "(\w+)"', config.read_text())
    lines = [Path(f"/proc/{member.pid}/cmdline").read_text() for member in members(found.supervisor)]
    assert len(passwords) >= 2
    assert config.stat().st_mode & 0o777 == 0o600
    assert not [line for line in lines if any(password in line for password in passwords)]


def test_down_leaves_nothing(running: Path) -> None:
    """No process, no port, no folder; and a second `down` says that nothing runs."""
    found = status(running)
    family = members(found.supervisor)
    assert len(family) > len(found.processes)
    run(running, "down", check=True)
    assert not alive(family)
    assert all(is_free(int(entry.address.rpartition(":")[2])) for entry in found.processes)
    assert not running.exists()
    assert "nothing runs" in run(running, "down", check=True).stderr


def test_nothing_stays_of_a_killed_supervisor(running: Path) -> None:
    """A kill -9 of the process that everything belongs to ends everything."""
    found = status(running)
    family = members(found.supervisor)
    os.kill(found.supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(family), within_s=30, what="all have ended")
    wait_until(lambda: not running.exists(), within_s=30, what="the folder is gone")


@pytest.mark.usefixtures("folder")  # to be skipped where executables are missing
def test_a_topology_does_not_remove_what_somebody_else_has_put_there(tmp_path: Path) -> None:
    """From Python too, a folder with something in it is refused."""
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(ServerError, match="has something in it"):
        Topology(folder=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_all_missing_executables_are_named_at_once(above: Path) -> None:
    """With what to install; and nothing is left."""
    refused = subprocess.run(
        [*COMMAND, "up", f"--folder={above / 'missing'}"],
        cwd=ROOT,
        env={"PATH": str(above)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "redis-server is not installed (Debian: apt install redis-server)" in refused.stderr
    assert "epmd is not installed" in refused.stderr
    assert not (above / "missing").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_of_a_start_that_is_interrupted(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C, which reaches the whole process group, and SIGTERM and SIGKILL in the middle of the start leave no process and no folder."""
    run(folder, "down")
    with subprocess.Popen(
        [*COMMAND, "up", f"--folder={folder}"], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as starting:
        assert starting.stderr is not None
        said = next(line for line in starting.stderr if "Redis with Sentinel" in line or "Error" in line)
        family = members(starting.pid)
        os.killpg(starting.pid, number)
        rest = starting.stderr.read()
    assert "Redis with Sentinel" in said
    assert len(family) > 6
    assert starting.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130), rest
    wait_until(lambda: not alive(family), within_s=30, what="all have ended")
    wait_until(lambda: not folder.exists(), within_s=30, what="the folder is gone")
