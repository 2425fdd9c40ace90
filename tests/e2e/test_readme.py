"""The README's commands, letter by letter but for the address of the node."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kvcore.testing.nodes import NodeProcess

README = Path(__file__).parents[2] / "README.md"
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("curl ", ".venv/bin/kvctl "))
]


def test_the_readme_has_commands() -> None:
    """There is something to try out: each operation, with curl and with kvctl."""
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(embedded: NodeProcess, command: str) -> None:
    """Each command succeeds against a node."""
    if "kvctl get" in command or ("curl 'http" in command and "/kv?key=" in command):
        subprocess.run(
            [sys.executable, "-m", "kvcore.cli", "put", "greeting", "hello", "--url", embedded.url], check=True
        )
    words = shlex.split(command.replace("http://127.0.0.1:8000", embedded.url))
    if words[0] == "curl":
        words.insert(1, "--fail-with-body")
    else:
        words[:1] = [sys.executable, "-m", "kvcore.cli"]
    environment = os.environ | {"KVCORE_URL": embedded.url}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello" in done.stdout or "stored" in done.stdout or "healthy" in done.stdout
