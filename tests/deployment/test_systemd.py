"""The units of deploy/systemd: systemd finds no fault in them, and what they start does what they rely on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcore.notifying import notify_ready
from kvcore.testing.fixtures import required
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import free_port

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
SERVED = {"kvcore-node@.service": "http.host", "kvcore-worker@.service": "worker.host"}
INSTALLED = "/opt/kvcore/bin"
"""Where the units expect `kvctl`."""
MOST_EXPOSURE = 1.5
"""As `systemd-analyze security` counts it, from 0 to 10. What is left is the network, the resources of `@resources` that reading
limits takes, and the root of the file system, which is read only."""

NOWHERE = """\
profile = "production"
[auth]
mode = "none"
[http]
drain_s = 0.0
[cache.redis]
url = "redis://127.0.0.1:1"
[queue.rabbitmq]
hosts = ["127.0.0.1:1"]
[store.cockroach]
hosts = ["127.0.0.1:1"]
"""
"""A configuration with servers that are not there: nodes and workers start all the same."""


def tool(name: str) -> str:
    """Return a tool of systemd; without it the test is skipped, or fails where CI is set."""
    return required(lambda: find_executable(name, package="systemd"))


def run(*command: str | Path) -> str:
    """Return what a tool says, which must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def values(unit: Path, name: str) -> list[str]:
    """Return what is assigned to a name, in the order of the file."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with all units, whose commands are those of this environment: systemd looks whether they are there."""
    for path in (ROOT / "deploy" / "systemd").iterdir():
        text = path.read_text(encoding="utf-8").replace(INSTALLED, str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_finds_no_fault(installed: Path) -> None:
    """`systemd-analyze verify` has nothing to say about any unit, with and without the drop-in for the embedded profile."""
    files = [*installed.glob("*.service"), *installed.glob("*.target")]
    assert len(files) == len(UNITS) + 1
    assert run(tool("systemd-analyze"), "verify", "--man=no", *files) == ""
    drop_ins = installed / "kvcore-node@.service.d"
    drop_ins.mkdir()
    (installed / "embedded.conf").rename(drop_ins / "embedded.conf")
    assert run(tool("systemd-analyze"), "verify", "--man=no", installed / "kvcore-node@.service") == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_little_is_in_reach_of_a_process_that_was_taken_over(unit: Path, installed: Path) -> None:
    """By the count of `systemd-analyze security` a unit is hardly exposed."""
    said = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", installed / unit.name)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSURE, said


def test_nothing_is_killed_while_it_still_stops_in_good_order() -> None:
    """The manager waits for longer than a node drains and finishes, and than a worker finishes what it has in hand."""
    profile = tomllib.loads((ROOT / "kvcore" / "profiles" / "production.toml").read_text(encoding="utf-8"))
    node, worker = (UNITS[0].parent / name for name in SERVED)
    longest_s = profile["http"]["drain_s"] + default("http.shutdown_s")
    assert float(values(node, "TimeoutStopSec")[0]) > longest_s
    assert float(values(worker, "TimeoutStopSec")[0]) > default("worker.shutdown_s")
    assert values(node, "KillMode") == values(worker, "KillMode") == ["mixed"]


def default(setting: str) -> float:
    """Return the default of a setting, as docs/settings.md has it, which is made from the code."""
    found = re.search(rf"^\| `{re.escape(setting)}` \| [^|]+ \| `([\d.]+)` \|", settings_page(), re.MULTILINE)
    assert found is not None, setting
    return float(found[1])


def settings_page() -> str:
    """Return the page with all settings."""
    return (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_each_secret_is_handed_on_to_a_setting(unit: Path) -> None:
    """Every credential that is loaded is what one setting names, and every such setting is one that there is."""
    loaded = {value.partition(":")[0] for value in values(unit, "LoadCredential")}
    named = dict(re.findall(r"^Environment=KVCORE_(\w+)=%d/(\w+)$", unit.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(named.values()) == loaded
    for variable in named:
        setting = variable.lower().replace("__", ".")
        assert f"| `{setting}` |" in settings_page()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_no_process_opens_a_file_that_only_root_can_read(unit: Path) -> None:
    """Where docs/deployment/bare-machines.md has a file of secrets in kvcore.toml, each unit puts a credential in its place."""
    page = (ROOT / "docs" / "deployment" / "bare-machines.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\[([a-z.]+)\]$|^(\w+) = \"(/etc/kvcore/secrets/\w+)\"$", page, re.MULTILINE)
    table, wanted = "", {}
    for name, setting, file in tables:
        table = name or table
        if setting:
            wanted[f"KVCORE_{table}.{setting}".upper().replace(".", "__")] = f"%d/{Path(file).name}"
    assert wanted
    assert wanted.items() <= dict(value.split("=", 1) for value in values(unit, "Environment")).items()


class Manager:
    """What a process takes for systemd: it listens at the socket in `NOTIFY_SOCKET`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(30)

    def heard(self) -> str:
        """Return the next thing that a process says."""
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Yield somebody to notify."""
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def started(unit: Path, port: int, folder: Path, manager: Manager, *more: str) -> subprocess.Popen[bytes]:
    """Start what a unit starts, as systemd would, but for the user and the fences around it."""
    (folder / "kvcore.toml").write_text(NOWHERE, encoding="utf-8")
    environment = dict(value.split("=", 1) for value in values(unit, "Environment"))
    for value in values(unit, "LoadCredential"):
        (folder / value.partition(":")[0]).write_text("secret", encoding="utf-8")
    environment = {name: value.replace("%d", str(folder)) for name, value in environment.items()}
    environment |= {"KVCORE_CONFIG": str(folder / "kvcore.toml"), "NOTIFY_SOCKET": str(manager.path)}
    environment |= {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    command = values(unit, "ExecStart")[0].replace(INSTALLED, str(Path(sys.executable).parent)).replace("%i", str(port))
    return subprocess.Popen([*command.split(), *more, f"--set={SERVED[unit.name]}=127.0.0.1"], env=environment)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("kvcore-node@.service", ()),
        ("kvcore-node@.service", ("--processes", "2")),
        ("kvcore-worker@.service", ()),
    ],
    ids=["node", "node of two processes", "worker"],
)
def test_what_is_started_says_when_it_is_ready(
    name: str, more: tuple[str, ...], tmp_path: Path, manager: Manager
) -> None:
    """When it says that it is ready it serves, on the port of the instance; and SIGTERM ends it with success."""
    port = free_port()
    process = started(ROOT / "deploy" / "systemd" / name, port, tmp_path, manager, *more)
    try:
        assert manager.heard() == "READY=1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_manager_that_does_not_listen_is_no_reason_not_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that is not there changes nothing."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify_ready()


def test_a_socket_without_a_file_is_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name begins with "@", it is that of a socket in no file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"kvcore-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_ready()
        listener.setblocking(False)
        assert listener.recv(100) == b"READY=1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_nodes_can_read_tokens_and_not_secrets(tmp_path: Path) -> None:
    """The user and the folders are made, and the user can read tokens.toml and nothing of what is in secrets/."""
    (tmp_path / "etc").mkdir()
    run(tool("systemd-sysusers"), f"--root={tmp_path}", ROOT / "deploy" / "systemd" / "kvcore.sysusers")
    run(tool("systemd-tmpfiles"), "--create", f"--root={tmp_path}", ROOT / "deploy" / "systemd" / "kvcore.tmpfiles")
    found_group = re.search(r"^kvcore:[^:]*:(\d+):", (tmp_path / "etc" / "group").read_text(), re.MULTILINE)
    assert found_group is not None
    kvcore = int(found_group[1])
    folder = tmp_path / "etc" / "kvcore"
    found = {name: (folder / name).stat() for name in ("", "secrets", "tokens.toml")}
    assert {name: (oct(state.st_mode & 0o777), state.st_uid, state.st_gid) for name, state in found.items()} == {
        "": ("0o750", 0, kvcore),
        "secrets": ("0o700", 0, 0),
        "tokens.toml": ("0o640", 0, kvcore),
    }
