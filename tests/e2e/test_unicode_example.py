"""The example that loads the Unicode character database, run as a reader would run it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "unicode_names.py"


@pytest.fixture
def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def url(tmp_path: Path, free_port: int) -> Iterator[str]:
    """Run a node of its own on the embedded profile, and return where it is."""
    kvctl = shutil.which("kvctl", path=str(Path(sys.executable).parent)) or shutil.which("kvctl")
    assert kvctl is not None, "kvcore is not installed here"
    environment = os.environ | {
        "KVCORE_HTTP__PORT": str(free_port),
        "KVCORE_STORE__SQLITE__PATH": str(tmp_path / "kvcore.db"),
    }
    with (tmp_path / "node.log").open("wb") as log:
        node = subprocess.Popen([kvctl, "serve"], env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{free_port}", node)
        yield f"http://127.0.0.1:{free_port}"
    finally:
        node.terminate()
        node.wait(15)


def wait_until_ready(url: str, node: subprocess.Popen[bytes]) -> None:
    """Poll the readiness of a node until it is there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert node.poll() is None, "the node ended while it started"
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    pytest.fail("the node does not become ready")


def run_example(url: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run([sys.executable, str(EXAMPLE), "--url", url], capture_output=True, text=True, timeout=280)


@pytest.mark.timeout(300)
def test_the_whole_unicode_database_is_written_and_read_back(url: str) -> None:
    """Every named character comes back as it was written, and a deleted block, and nothing else, is gone."""
    named = sum(1 for character in map(chr, range(sys.maxunicode + 1)) if unicodedata.name(character, None))

    ended = run_example(url)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{named:,} characters, 1,071 of them deleted again, 0 differences" in ended.stdout
    hieroglyph = httpx.get(f"{url}/kv", params={"key": "char/\U00013000"})
    cherokee = httpx.get(f"{url}/kv", params={"key": "char/\u13a0"})
    assert hieroglyph.status_code == 404
    assert cherokee.json()["data"]["value"]["name"] == "CHEROKEE LETTER A"


def test_without_a_node_the_example_fails_in_one_line(free_port: int) -> None:
    """Where nothing listens, the program ends with 1 and says so in one line."""
    ended = run_example(f"http://127.0.0.1:{free_port}")

    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot go on: ")
    assert ended.stderr.count("\n") == 1
