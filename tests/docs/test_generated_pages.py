"""The pages that are made from the code are what the code says."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    """Give the names that the script defines."""
    return runpy.run_path(str(SCRIPT))


def test_the_pages_in_the_repository_are_up_to_date(generate: dict[str, Any]) -> None:
    """Whoever changes a command or a setting runs docs/generate.py."""
    assert generate["stale_pages"]() == []


@pytest.mark.parametrize("name", ["cli.md", "settings.md"])
def test_a_page_that_differs_is_named(generate: dict[str, Any], name: str, tmp_path: Path) -> None:
    """The comparison notices a single changed letter, and a page that is not there."""
    for page, make in generate["PAGES"].items():
        (tmp_path / page).write_text(make() + ("x" if page == name else ""), encoding="utf-8")
    assert generate["stale_pages"](tmp_path) == [name]
    (tmp_path / name).unlink()
    assert generate["stale_pages"](tmp_path) == [name]


def test_every_setting_has_a_description(generate: dict[str, Any]) -> None:
    """No row of the table of settings lacks its meaning."""
    rows = [line for line in generate["settings_page"]().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_check_mode_writes_nothing() -> None:
    """--check only compares."""
    before = {page: page.stat().st_mtime_ns for page in SCRIPT.parent.glob("*.md")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert {page: page.stat().st_mtime_ns for page in SCRIPT.parent.glob("*.md")} == before
