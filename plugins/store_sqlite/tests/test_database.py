"""The database file: whose it is, of which schema, and that one process uses it at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from kvcore.errors import SettingsError
from kvcore_store_sqlite.database import Database
from kvcore_store_sqlite.sql import migrations, statement


def test_all_migrations_together_give_the_schema(database: Database) -> None:
    """The schema as it is written down is that which a new database has."""
    written = apsw.Connection(":memory:")
    for _ in written.execute(statement("schema")):
        pass
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    with closing(database):
        assert list(database.reader.execute(query)) == list(written.execute(query))
        assert database.reader.pragma("user_version") == len(migrations())


def test_commits_are_on_the_disk(database: Database) -> None:
    """The connection that writes has a log, waits for the disk at each commit, and does not touch it before."""
    with closing(database):
        found = {name: database.writer.pragma(name) for name in ("journal_mode", "synchronous", "cache_spill")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "cache_spill": 0}


def test_a_purge_walks_through_indexes_only(database: Database) -> None:
    """What a purge and a listing look for is found without a walk through a table."""
    bindings = {"before": "", "before_ms": 0, "limit": 0, "start": "", "stop": "", "most": 0}
    with closing(database):
        for name in ("purge", "purge_answered", "scan"):
            plan = [detail for *_, detail in database.reader.execute("EXPLAIN QUERY PLAN " + statement(name), bindings)]
            assert [step for step in plan if step in ("SCAN kv", "SCAN answered") or "TEMP B-TREE" in step] == []


def test_an_older_database_is_brought_up_with_its_keys(path: Path) -> None:
    """A database of the first schema gets what it lacks when it is opened, and what it holds is left alone."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(migrations()[0])
        connection.pragma("user_version", 1)
        connection.execute("INSERT INTO kv VALUES ('key', 'version', 'text/plain', NULL, x'00')")
    with closing(Database(path)) as database:
        assert database.reader.pragma("user_version") == len(migrations())
        assert list(database.reader.execute("SELECT key FROM kv")) == [("key",)]
        assert list(database.reader.execute("SELECT * FROM answered")) == []


def test_makes_the_folder(tmp_path: Path) -> None:
    """A database in a folder that is not there is made, with the folder."""
    path = tmp_path / "a" / "b" / "kv.db"
    with closing(Database(path)):
        assert path.is_file()


def test_a_second_opening_is_refused(path: Path, database: Database) -> None:
    """While a database is open nobody else opens it; afterwards anybody may."""
    with closing(database), pytest.raises(SettingsError, match=f"{path}: another process uses this database"):
        Database(path)
    Database(path).close()


def test_a_symbolic_link_is_the_database_that_it_leads_to(path: Path, database: Database) -> None:
    """Two nodes on one database, each with a cache of its own, would answer what the other has replaced."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    with closing(database), pytest.raises(SettingsError, match="another process uses this database"):
        Database(link)


def test_closing_again_does_nothing(path: Path, database: Database) -> None:
    """Closing may be repeated, and does not take the database from who has it now."""
    database.close()
    with closing(Database(path)):
        database.close()
        with pytest.raises(SettingsError):
            Database(path)


def test_closing_leaves_one_whole_file(path: Path, database: Database) -> None:
    """After closing, the database file alone has everything: nothing is left in a log."""
    database.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["kv.db", "kv.db.lock"]


def make_folder(path: Path) -> None:
    """A folder stands where the database should be."""
    path.mkdir()


def make_parent_a_file(path: Path) -> None:
    """The path's folder is a file."""
    path.parent.rmdir()
    path.parent.write_text("a file")


def make_text(path: Path) -> None:
    """A text file stands where the database should be."""
    path.write_text("this is not a database, and is longer than its header would be " * 100)


def make_strange(path: Path) -> None:
    """A database of another program."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")


def make_newer(path: Path) -> None:
    """A database of a later schema."""
    with closing(Database(path)) as database:
        database.writer.pragma("user_version", 1000)


def make_read_only(path: Path) -> None:
    """A folder that may not be written to."""
    path.parent.chmod(0o500)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (make_folder, "this is a folder; name a file in it"),
        (make_parent_a_file, "its folder cannot be made .*; choose another path"),
        (make_text, "the file is not an SQLite database"),
        (make_strange, "a database of some other program; choose another path"),
        (make_newer, "its schema has version 1000 .* install a newer kvcore-store-sqlite"),
        pytest.param(
            make_read_only,
            "its folder cannot be written to .* mend its permissions",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root"),
        ),
    ],
)
def test_what_cannot_be_the_database_is_refused(tmp_path: Path, prepare: Callable[[Path], None], words: str) -> None:
    """The refusal is one line that names the setting, the path and what to do; what was there is left as it was."""
    path = tmp_path / "data" / "kv.db"
    path.parent.mkdir()
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SettingsError, match=words) as caught:
        Database(path)
    assert str(caught.value).startswith(f"store.sqlite.path: {path}: ")
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before
    path.parent.chmod(0o700)
