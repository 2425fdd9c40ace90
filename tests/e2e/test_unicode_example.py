"""The example that loads the Unicode character database, run as a reader would run it."""

from __future__ import annotations

import socket
import subprocess
import sys
import unicodedata
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import running_node

EXAMPLE = Path(__file__).parents[2] / "examples" / "unicode_names.py"


@pytest.fixture
def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_example(url: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, str(EXAMPLE), "--url", url]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)


@pytest.mark.timeout(300)
def test_the_whole_unicode_database_is_written_and_read_back(tmp_path: Path) -> None:
    """Every named character comes back as it was written, and a deleted block, and nothing else, is gone."""
    named = sum(1 for character in map(chr, range(sys.maxunicode + 1)) if unicodedata.name(character, None))

    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node:
        ended = run_example(node.url)
        hieroglyph = httpx.get(f"{node.url}/kv", params={"key": "char/\U00013000"})
        cherokee = httpx.get(f"{node.url}/kv", params={"key": "char/\u13a0"})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{named:,} characters, 1,071 of them deleted again, 0 differences" in ended.stdout
    assert hieroglyph.status_code == 404
    assert cherokee.json()["data"]["value"]["name"] == "CHEROKEE LETTER A"


def test_without_a_node_the_example_fails_in_one_line(free_port: int) -> None:
    """Where nothing listens, the program ends with 1 and says so in one line."""
    ended = run_example(f"http://127.0.0.1:{free_port}")

    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot go on: ")
    assert ended.stderr.count("\n") == 1
