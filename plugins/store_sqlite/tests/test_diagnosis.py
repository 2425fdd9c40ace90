"""What `kvctl doctor` says of a database file."""

from __future__ import annotations

from pathlib import Path

from kvcore.backends import Finding
from kvcore_store_sqlite import SqliteSettings, open_sqlite
from kvcore_store_sqlite.diagnosis import diagnose


async def found(path: Path) -> Finding:
    """Return what is found about a path."""
    (finding,) = (await diagnose(SqliteSettings(path=str(path)))).findings
    return finding


async def test_a_database_in_use_is_in_order(tmp_path: Path) -> None:
    """A node that runs is no fault, and nobody is told to stop it."""
    path = tmp_path / "kvcore.db"
    async with open_sqlite(SqliteSettings(path=str(path))):
        finding = await found(path)
    assert (finding.level, finding.remedy) == ("ok", "")
    assert "a process uses it" in finding.what


async def test_a_database_that_nobody_uses_is_opened(tmp_path: Path) -> None:
    """It is named with what serves it."""
    path = tmp_path / "kvcore.db"
    async with open_sqlite(SqliteSettings(path=str(path))):
        pass
    finding = await found(path)
    assert finding.level == "ok"
    assert finding.what.startswith("SQLite")


async def test_looking_makes_no_database(tmp_path: Path) -> None:
    """Where there is none, there is none afterwards."""
    finding = await found(tmp_path / "kvcore.db")
    assert (finding.level, list(tmp_path.iterdir())) == ("ok", [])


async def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    """What a node would refuse is told in its words, with what to do."""
    path = tmp_path / "kvcore.db"
    path.write_text("no database" * 1000)
    finding = await found(path)
    assert finding.level == "error"
    assert str(path) in finding.evidence
    assert "kvctl sqlite check" in finding.remedy
