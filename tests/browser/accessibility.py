"""axe-core, which finds what keeps people from using a page."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from kvcore.testing.fixtures import do_without, required
from kvcore.testing.servers.group import find_executable

__all__ = ("axe_source", "violations")

_AXE: Final = "axe-core@4.14.1"
_OPTIONS: Final = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
_GRAVE: Final = ("serious", "critical")


def axe_source(folder: Path) -> str:
    """Fetch axe-core into a folder and return its source; where that cannot be the test is skipped, or fails where CI is set."""
    npm = required(lambda: find_executable("npm", package="npm"))
    command = [npm, "install", *_OPTIONS, "--prefix", str(folder), _AXE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        do_without(f"npm cannot fetch {_AXE}: {done.stderr.strip()}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, source: str) -> list[str]:
    """Return what a page violates that is serious: rule, element and reason of each.

    Evaluated by the debugger, which the policy of the page does not bind.
    """
    page.evaluate(source)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} ({violation['impact']}): {node['html']}: {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in _GRAVE
        for node in violation["nodes"]
    ]
