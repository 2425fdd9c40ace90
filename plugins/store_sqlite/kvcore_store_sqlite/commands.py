"""`kvctl sqlite`: looking after a database file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import apsw
import msgspec
import typer

from kvcore.errors import KvcoreError, SettingsError
from kvcore_store_sqlite.database import locked, schema_version
from kvcore_store_sqlite.settings import SqliteSettings
from kvcore_store_sqlite.translating import translating

__all__ = ("commands",)

Database = Annotated[
    Path, typer.Option("--path", envvar="KVCORE_STORE__SQLITE__PATH", help="The database file: store.sqlite.path.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_DEFAULT = Path(SqliteSettings().path)


def commands() -> typer.Typer:
    """Return the group of commands "sqlite"."""
    group = typer.Typer(
        name="sqlite",
        help="Look after the database file of the SQLite store.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(check)
    group.command()(backup)
    return group


def check(path: Database = _DEFAULT, as_json: AsJson = False) -> None:
    """Read all of a database that no node is using, and say whether it is sound."""
    with locked(_existing(path)), _opened(path, apsw.SQLITE_OPEN_READWRITE) as connection:
        faults = [fault for (fault,) in connection.execute("PRAGMA integrity_check") if fault != "ok"]
        if faults:
            raise KvcoreError("\n".join([f"{path} is damaged; restore a backup", *faults]))
        keys = connection.execute("SELECT count(*) FROM kv").get
    text = f"{path} is sound; it holds {keys} keys, deleted ones that are still remembered included"
    _show({"path": str(path), "keys": keys}, text, as_json=as_json)


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    path: Database = _DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write a compact copy of a database, as of now, while a node goes on using it."""
    with _opened(_existing(path), apsw.SQLITE_OPEN_READONLY) as connection, _made(target):
        connection.execute("VACUUM INTO ?", (str(target),))
    size = target.stat().st_size
    _show({"path": str(target), "size_bytes": size}, f"{target} holds {size} bytes", as_json=as_json)


def _show(document: dict[str, str | int], text: str, *, as_json: bool) -> None:
    typer.echo(msgspec.json.encode(document).decode() if as_json else text)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such database; name it with --path")
    return path.resolve()


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[apsw.Connection]:
    with (
        translating(lambda why: SettingsError(f"{path}: {why}")),
        closing(apsw.Connection(str(path), flags=flags)) as connection,
    ):
        connection.set_busy_timeout(2000)
        if not schema_version(path, connection):
            raise SettingsError(f"{path}: this database is empty")
        yield connection


@contextmanager
def _made(target: Path) -> Iterator[None]:
    """Make a file that was not there; see to it that what is written there is on the disk, or remove it after a failure."""
    try:
        file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(f"{target} exists already, and a backup overwrites nothing; choose another name") from None
    except OSError as error:
        raise SettingsError(f"{target} cannot be written ({error.strerror}); choose another place") from error
    try:
        yield
        os.fsync(file)
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(file)
