"""The README's commands and its program, letter by letter but for the address of the node."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from kvcore.testing.nodes import NodeProcess

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("curl ", ".venv/bin/kvctl "))
]
(PROGRAM,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SAID = re.compile("hello|stored|greeting|healthy|pages/readme|# kvcore")


def test_the_readme_has_commands() -> None:
    """There is something to try out, with curl and with kvctl: single keys, bytes, a listing, a batch."""
    for part in ("/kv -d", "/kv?key=", "/kv/", "/keys?", "/batch", "kvctl put", "kvctl get", "kvctl list"):
        assert any(part in command for command in COMMANDS), part


def test_the_commands_of_the_readme_work_one_after_the_other(embedded: NodeProcess) -> None:
    """Whoever types them in their order sees each succeed, and say something."""
    environment = os.environ | {"KVCORE_URL": embedded.url}
    for command in COMMANDS:
        words = shlex.split(command.replace("http://127.0.0.1:8000", embedded.url))
        words[:1] = ["curl", "--fail-with-body"] if words[0] == "curl" else [sys.executable, "-m", "kvcore.cli"]
        done = subprocess.run(
            words, cwd=README.parent, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, command + done.stdout + done.stderr
        assert SAID.search(done.stdout), command + done.stdout


def test_the_program_of_the_readme_runs(embedded: NodeProcess) -> None:
    """It ends well, and twice as well as once."""
    code = PROGRAM.replace("http://127.0.0.1:8000", embedded.url)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("greeting ")
