"""Prometheus' own tool, which checks and tests rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ("run_promtool",)


def run_promtool(*arguments: str | Path) -> str:
    """Run `promtool` and return what it prints; fail where it finds fault. Skip without it, but fail where CI is set."""
    executable = shutil.which("promtool")
    if executable is None:
        reason = "there is no promtool on PATH: apt-get install --no-install-recommends prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)  # the message names what to install; with CI set it has failed above
    done = subprocess.run([executable, *arguments], check=False, capture_output=True, text=True, timeout=110)
    if done.returncode != 0:
        pytest.fail(f"promtool {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout
