"""`kvctl serve` and `kvctl worker`: how they start, refuse and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.config import Resolved
from kvcore.http import server
from kvcore.plugins import Plugins

# A plugin of the test: a queue that claims to be shared, so that a worker in a process of its own may run.
SHARED_QUEUE = """
import msgspec
from kvcore.backends import Ability, Factory
from kvcore.hookspecs import hookimpl
from kvcore_cache_memory import FACTORY as CACHE
from kvcore_queue_memory import FACTORY as QUEUE
from kvcore_store_memory import FACTORY as STORE


def shared(factory):
    backend = type("Shared", (factory.backend,), {"abilities": frozenset({Ability.SHARED})})
    return Factory(name="shared", backend=backend, settings=factory.settings, open=factory.open)


class Shared:
    @hookimpl
    def kvcore_caches(self):
        return [shared(CACHE)]

    @hookimpl
    def kvcore_queues(self):
        return [shared(QUEUE)]

    @hookimpl
    def kvcore_stores(self):
        return [shared(STORE)]


from kvcore import plugins
from kvcore.cli import main

load = plugins.load_plugins
plugins.load_plugins = lambda: load(extra=[("shared", Shared())])
main()
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that no kvcore.toml is found by chance."""
    monkeypatch.chdir(tmp_path)


def kvctl(*arguments: str) -> Result:
    """Run kvctl in this process."""
    return CliRunner().invoke(app, arguments)


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of ours beside the test, and end it with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KVCORE_")}
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what a program says on stderr until it says this; return all of it."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return said
    pytest.fail(f"{words!r} was not said: {''.join(said)}")


def test_serve_passes_its_options_on_as_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """--host, --port, --profile, --with-worker, --set and --config become settings of the node, the options over --set."""
    served: list[Resolved] = []

    def serve(resolved: Resolved, plugins: Plugins) -> None:
        assert plugins.loaded
        served.append(resolved)

    monkeypatch.setattr(server, "run_node", serve)
    Path("my.toml").write_text("[cache]\nttl_s = 7\n", encoding="utf-8")
    options = ["--host", "::1", "--port", "0", "--profile", "memory", "--config", "my.toml", "--with-worker"]
    assert kvctl("serve", *options, "--set", "cache.lease_ttl_s=3", "--set", "http.port=1").exit_code == 0
    settings = served[0].settings
    assert (settings.http.host, settings.http.port, settings.profile) == ("::1", 0, "memory")
    assert (settings.worker.in_node, settings.cache.ttl_s, settings.cache.lease_ttl_s) == (True, 7, 3)


def test_serve_refuses_a_worker_without_a_queue() -> None:
    """--with-worker on a profile without a queue is one clear line."""
    result = kvctl("serve", "--profile", "embedded", "--with-worker")
    assert result.exit_code == 1
    assert "worker.in_node" in result.stderr


def test_serve_says_in_one_line_that_the_port_is_in_use() -> None:
    """A port that somebody else has is named, with what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running("-m", "kvcore.cli", "serve", "--profile", "memory", "--port", port) as process:
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("kvctl: http.port: ")
    assert port in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("profile", "reason"), [("embedded", "no queue to drain"), ("memory", "kvctl serve --with-worker")]
)
def test_worker_refuses_a_profile_that_has_nothing_for_it(profile: str, reason: str) -> None:
    """Without a queue that other processes publish to, a worker says so instead of waiting for ever."""
    result = kvctl("worker", "--profile", profile)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "queue.backend" in result.stderr
    assert reason in result.stderr


@contextmanager
def running_shared_worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a worker on backends that claim to be shared."""
    program = folder / "program.py"
    program.write_text(SHARED_QUEUE, encoding="utf-8")
    backends = [argument for kind in ("cache", "queue", "store") for argument in ("--set", f"{kind}.backend=shared")]
    with running(str(program), "worker", "--port", "0", "--profile", "memory", *backends) as process:
        yield process


def test_a_worker_answers_for_its_health_and_metrics(tmp_path: Path) -> None:
    """A worker says at its start where its health and its metrics are, and answers there; it knows no keys."""
    with running_shared_worker(tmp_path) as process:
        said = wait_for_line(process, "the worker is ready")
        url = next(line.split()[1] for line in said if line.startswith("health ")).removesuffix("/health")
        with httpx.Client(base_url=url) as client:
            health = client.get("/health").json()
            assert (health["status"], set(health["components"])) == ("healthy", {"cache", "queue", "store"})
            assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
            metrics = client.get("/metrics").text
            assert client.get("/kv", params={"key": "a"}).status_code == 404
    for name in (
        "kvcore_queue_messages{",
        "kvcore_queue_consumers{",
        "kvcore_queue_dead_letters 0.0",
        "kvcore_lag_sec",
    ):
        assert name in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end a worker as they end a node: with 0, after it was closed, without a traceback."""
    with running_shared_worker(tmp_path) as process:
        wait_for_line(process, "the worker is ready")
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, stopping("the worker", process.pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_in_an_orderly_way(number: signal.Signals) -> None:
    """A node that is asked to stop closes everything and exits 0, without a traceback."""
    with running("-m", "kvcore.cli", "serve", "--profile", "memory", "--port", "0") as process:
        wait_for_line(process, "ready")
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, stopping("kvcore", process.pid))


def stopping(who: str, pid: int) -> str:
    """Return what a process says when it stops, and nothing else."""
    return f"{who} is stopping, process {pid}\n{who} has stopped, process {pid}\n"


def shown(*arguments: str) -> dict[str, Any]:
    """Return what `kvctl config show` says as JSON."""
    found: dict[str, Any] = json.loads(kvctl("config", "show", "--json", *arguments).stdout)
    return found


def test_the_file_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """KVCORE_CONFIG names a file where --config does not."""
    Path("other.toml").write_text("[http]\nport = 9002\n", encoding="utf-8")
    monkeypatch.setenv("KVCORE_CONFIG", "other.toml")
    assert shown()["http.port"] == {"value": 9002, "source": "other.toml"}
