"""`./start.sh`, as somebody runs it who has just cloned the repository."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
WHAT_IT_NEEDS = ("kvcore", "plugins", "scripts", "pyproject.toml", "README.md", "LICENSE", "start.sh")
# Without settings, and without constraints of the environment that the tests run in, which name a file here.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("KVCORE_", "PIP_CONSTRAINT"))}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a clean copy of the repository, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a checkout")
    for name in WHAT_IT_NEEDS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    return folder


@contextmanager
def started(checkout: Path, place: Path, **settings: str) -> Iterator[str]:
    """Run start.sh from a folder until it says that the node is ready; give the node's URL, and end it with Ctrl-C."""
    environment = ENVIRONMENT | {"KVCORE_HTTP__PORT": "0"} | settings
    command = [str(checkout / "start.sh")]
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said, url = [], ""
            for line in process.stderr:
                said.append(line)
                if line.startswith("health "):
                    url = line.split()[1].removesuffix("/health")
                if line.startswith("kvcore is ready"):
                    break
            assert url, "".join(said)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.timeout(900)
def test_start_installs_serves_and_keeps_the_data(checkout: Path, tmp_path: Path) -> None:
    """It works from a clean checkout, again, and from another folder, with the data beside it; what it cannot use it says in one line."""
    with started(checkout, checkout) as url:
        httpx.put(f"{url}/kv", json={"data": {"key": "greeting", "value": "hello"}}).raise_for_status()
    assert (checkout / "data" / "kvcore.db").exists()
    with started(checkout, tmp_path) as url:
        assert httpx.get(f"{url}/kv?key=greeting").json() == {"data": {"value": "hello"}}
        second = subprocess.run(
            [checkout / "start.sh"],
            env=ENVIRONMENT | {"KVCORE_HTTP__PORT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (second.returncode, second.stderr.count("\n")) == (1, 1)
        assert "another process uses this database" in second.stderr
    with started(checkout, tmp_path, KVCORE_STORE__SQLITE__PATH="elsewhere/kv.db") as url:
        assert httpx.get(f"{url}/kv?key=greeting").status_code == 404
    assert (tmp_path / "elsewhere" / "kv.db").exists()


def test_a_python_that_is_too_old_is_told_in_one_line(checkout: Path, tmp_path: Path) -> None:
    """Where only an old Python is found, one line says which is needed, and nothing is made."""
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for tool in ("sh", "dirname", "cat", "cksum", "rm", "mkdir"):
        (old.parent / tool).symlink_to(str(shutil.which(tool)))
    fresh = tmp_path / "fresh"
    shutil.copytree(checkout, fresh, ignore=shutil.ignore_patterns(".venv", "data"))
    done = subprocess.run(
        [fresh / "start.sh"], env={"PATH": str(old.parent)}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "3.11" in done.stderr.splitlines()[-1]
    assert not (fresh / ".venv").exists()
