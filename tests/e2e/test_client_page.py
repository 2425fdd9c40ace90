"""The programs of docs/client.md, letter by letter but for the address of the node."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvcore import client
from kvcore.testing.nodes import NodeProcess

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_method_is_on_the_page() -> None:
    """What the clients can do is documented, and there are programs to be tried out."""
    methods = [name for kind in (client.Client, client.Admin) for name in vars(kind) if not name.startswith("_")]
    methods = [name for name in methods if name not in ("admin", "close")]
    assert [name for name in [*methods, "session"] if f"`{name}(" not in PAGE] == []
    assert "`admin`" in PAGE
    assert len(PROGRAMS) >= 5


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_page_runs(embedded: NodeProcess, program: str) -> None:
    """It ends well, and twice as well as once."""
    code = program.replace("http://127.0.0.1:8000", embedded.url)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
