"""`kvctl sqlite`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.model import Entry, Mutation, Version
from kvcore_store_sqlite import SqliteSettings, SqliteStore, kvcore_commands, open_sqlite

ENTRY = Entry(Version("1" * 24), b"value" * 1000)


def run(*arguments: object) -> Result:
    """Run `kvctl sqlite` with arguments, as a part of `kvctl`, which shows what is refused."""
    return CliRunner().invoke(app, ["sqlite", *map(str, arguments)])


async def fill(path: Path, count: int = 1) -> None:
    """Make a database with some keys."""
    async with open_sqlite(SqliteSettings(path=str(path))) as store:
        await store.apply([Mutation(f"key {number}", ENTRY) for number in range(count)])


def test_the_group_has_a_name() -> None:
    """The commands come as one group, "sqlite"."""
    (group,) = kvcore_commands()
    assert isinstance(group, typer.Typer)
    assert group.info.name == "sqlite"


async def test_check_says_that_a_database_is_sound(path: Path) -> None:
    """A sound database is said to be, with the number of its keys."""
    await fill(path, 3)
    result = run("check", "--path", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "is sound; it holds 3 keys" in result.stdout


async def test_results_are_printed_as_json(path: Path, tmp_path: Path) -> None:
    """With --json each command prints one document."""
    await fill(path, 3)
    assert json.loads(run("check", "--path", path, "--json").stdout) == {"path": str(path), "keys": 3}
    copy = tmp_path / "copy.db"
    found = json.loads(run("backup", copy, "--path", path, "--json").stdout)
    assert found == {"path": str(copy), "size_bytes": copy.stat().st_size}


async def test_check_finds_damage(path: Path) -> None:
    """A damaged database fails the check."""
    await fill(path, 100)
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 3000)
    result = run("check", "--path", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "damaged" in result.stderr


async def test_check_leaves_a_database_in_use_alone(path: Path, store: SqliteStore) -> None:
    """A database that a node uses is not checked."""
    result = run("check", "--path", path)
    assert result.exit_code == 1
    assert "another process uses this database" in result.stderr


@pytest.mark.parametrize("command", [["check"], ["backup", "copy.db"]])
def test_a_database_that_is_not_there_is_not_made(
    path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no database, the commands say so and make nothing."""
    monkeypatch.chdir(path.parent)
    result = run(*command, "--path", path)
    assert result.exit_code == 1
    assert "there is no such database" in result.stderr
    assert list(path.parent.iterdir()) == []


async def test_backup_copies_while_a_node_runs(path: Path, store: SqliteStore) -> None:
    """Another process copies what is confirmed while the store is open; the copy is a database that a node can open."""
    await store.apply([Mutation("key", ENTRY)])
    target = path.parent / "copy.db"
    program = "from kvcore_store_sqlite.commands import commands; commands()()"
    command = [sys.executable, "-c", program, "backup", str(target), "--path", str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    await store.apply([Mutation("later", ENTRY)])
    async with open_sqlite(SqliteSettings(path=str(target))) as copy:
        assert list(await copy.get(["key", "later"])) == [ENTRY, None]


async def test_backup_copies_while_no_node_runs(path: Path) -> None:
    """The copy needs no running node, and the original stays usable."""
    await fill(path)
    target = path.parent / "copy.db"
    assert run("backup", target, "--path", path).exit_code == 0
    assert "is sound" in run("check", "--path", target).stdout
    assert "is sound" in run("check", "--path", path).stdout


@pytest.mark.parametrize("content", [b"", b"precious"])
async def test_backup_overwrites_nothing(path: Path, content: bytes) -> None:
    """A target that is there already, even if empty, is left as it was."""
    await fill(path)
    target = path.parent / "copy.db"
    target.write_bytes(content)
    result = run("backup", target, "--path", path)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert target.read_bytes() == content


async def test_a_backup_that_fails_leaves_nothing(path: Path) -> None:
    """A copy of a database that cannot be read to its end is removed."""
    await fill(path, 100)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 30_000)
    target = path.parent / "copy.db"
    assert run("backup", target, "--path", path).exit_code == 1
    assert not target.exists()
