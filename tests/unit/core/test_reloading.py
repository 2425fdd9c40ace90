"""A file that is read again: what becomes of one that its reader cannot take."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvcore.reloading import ReloadedFile


def test_a_reader_that_fails_is_a_file_that_is_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and told like any other broken file, without what the error says, which may be a secret."""
    file = tmp_path / "file"
    file.write_text("1")
    now, failures = 0.0, 0

    def failed() -> None:
        nonlocal failures
        failures += 1

    reloaded = ReloadedFile(str(file), int, failed=failed, clock=lambda: now)
    file.write_text("secret")
    now = 2.0
    assert reloaded.content() == 1
    assert failures == 1
    assert "what it said before stays in force" in caplog.text
    assert "secret" not in caplog.text
    file.write_text("22")
    now = 4.0
    assert reloaded.content() == 22
