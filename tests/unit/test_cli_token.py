"""`kvctl token`: what it prints, what it writes, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import stat
import threading
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.tokens import digest_of, parse_tokens


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that no kvcore.toml is found by chance."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of a file of tokens that is not there yet."""
    return tmp_path / "tokens.toml"


def token(*arguments: str | Path) -> Result:
    """Run `kvctl token`."""
    return CliRunner().invoke(app, ["token", *map(str, arguments)])


def names(file: Path) -> list[str]:
    """Return whose tokens a file lists."""
    return [entry.name for entry in parse_tokens(file.read_bytes(), "file")]


def test_create_prints_the_token_alone_and_keeps_its_digest(file: Path) -> None:
    """`TOKEN=$(kvctl token create …)` works; the file, readable by its owner only, has all but the token."""
    result = token(
        "create", "one", "--scope", "read", "--scope", "write", "--prefix", "a/", "--expires", "90d", "--file", file
    )
    assert result.exit_code == 0
    text = result.stdout.removesuffix("\n")
    assert text.startswith("kvc_")
    assert len(text.split()) == 1
    assert text not in file.read_text(encoding="utf-8") + result.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (entry,) = parse_tokens(file.read_bytes(), "file")
    assert (entry.name, entry.scopes, entry.prefixes, entry.digest) == (
        "one",
        ("read", "write"),
        ("a/",),
        digest_of(text),
    )
    assert entry.expires is not None
    assert abs(entry.expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


def test_create_without_a_file_prints_what_to_add_to_the_configuration(tmp_path: Path) -> None:
    """What is printed on stderr is the table: a configuration with it is sound, and has that token."""
    result = token("create", "one", "--scope", "read", "--prefix", 'quo"te\\')
    toml = result.stderr.partition("\n\n")[2]
    (entry,) = tomllib.loads(toml)["auth"]["tokens"]
    assert entry["sha256"] == digest_of(result.stdout.strip()).hex()
    assert entry["prefixes"] == ['quo"te\\']
    config = tmp_path / "kvcore.toml"
    config.write_text(toml, encoding="utf-8")
    assert CliRunner().invoke(app, ["config", "check"]).exit_code == 0
    assert token("create", "one", "--scope", "read").exit_code == 1  # that name is taken now
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("command", [("create", "a", "--scope", "read"), ("list",)], ids=" ".join)
def test_it_is_told_that_nodes_ask_for_other_tokens(command: tuple[str, ...]) -> None:
    """Whoever makes a token for a node that asks for none, or for those of somebody else, would wonder."""
    result = token(*command, "--set", "auth.mode=none")
    assert result.exit_code == 0
    assert "auth.mode = 'none': nodes with this configuration do not look at these tokens" in result.stderr


def test_create_takes_the_file_of_the_configuration(file: Path, tmp_path: Path) -> None:
    """`auth.file` is where a token goes without --file; a name in the configuration is taken there too."""
    own = token("create", "own", "--scope", "read").stderr.partition("\n\n")[2]
    config = tmp_path / "kvcore.toml"
    config.write_text(f'[auth]\nfile = "{file}"\n{own}', encoding="utf-8")
    assert json.loads(token("create", "one", "--scope", "read", "--json").stdout)["file"] == str(file)
    assert names(file) == ["one"]
    assert "own" in token("create", "own", "--scope", "read").stderr
    assert names(file) == ["one"]


def test_create_keeps_the_others(file: Path) -> None:
    """Tokens that are there stay, whatever their fields say."""
    token(
        "create", "one", "--scope", "admin", "--prefix", "é\n", "--expires", "2999-01-01T00:00:00+02:00", "--file", file
    )
    (before,) = parse_tokens(file.read_bytes(), "file")
    token("create", "two", "--scope", "read", "--file", file)
    assert parse_tokens(file.read_bytes(), "file")[0] == before
    assert names(file) == ["one", "two"]


def test_the_owner_and_the_mode_of_a_file_stay(file: Path) -> None:
    """A node that runs as another user can still read the file after a token was revoked."""
    token("create", "one", "--scope", "read", "--file", file)
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12_345, 12_346)
    before = file.stat()
    token("revoke", "one", "--file", file)
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino  # replaced at once, and not written over


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    """The file that it leads to is replaced."""
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    token("create", "one", "--scope", "read", "--file", link)
    assert link.is_symlink()
    assert names(file) == ["one"]


def test_tokens_that_are_made_at_once_are_all_kept(file: Path) -> None:
    """Two who change the file at the same time lose nothing of each other."""
    from kvcore.cli._token import create  # noqa: PLC0415 - the command as a function: a runner is for one at a time

    threads = [
        threading.Thread(target=create, args=(f"t{number}", ["read"]), kwargs={"file": file}) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(file)) == sorted(f"t{number}" for number in range(16))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--scope", "all"], 2, "all"),
        ([], 2, "--scope"),
        (["--scope", "read", "--expires", "soon"], 2, "soon"),
        (["--scope", "read", "--expires", "2020-01-01T00:00:00Z"], 2, "over"),
        (["--scope", "read", "--expires", "999999999d"], 2, "no time"),
        (["--scope", "read", "--file", "/nowhere/tokens.toml"], 1, "/nowhere/tokens.toml"),
    ],
)
def test_create_refuses_what_would_be_no_token(arguments: list[str], code: int, told: str) -> None:
    """A scope that there is not, no scope, no time, and a folder that is not there: nothing is printed on stdout."""
    result = token("create", "one", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_create_refuses_a_broken_file_and_leaves_it(file: Path) -> None:
    """What cannot be understood is not replaced, and nothing is left beside it."""
    for text in ("[[tokens]", '[[tokens]]\nname = "one"\n'):
        file.write_text(text, encoding="utf-8")
        result = token("create", "two", "--scope", "read", "--file", file)
        assert (result.exit_code, result.stdout) == (1, "")
        assert file.read_text(encoding="utf-8") == text
    assert list(file.parent.iterdir()) == [file]


def test_list_tells_who_may_do_what_and_nothing_of_the_tokens(file: Path) -> None:
    """Names, scopes, prefixes, ends and places, of the configuration and of the file."""
    token("create", "one", "--scope", "read", "--prefix", "a/", "--file", file)
    token("create", "two", "--scope", "read", "--scope", "admin", "--expires", "1h", "--file", file)
    digests = [entry.digest.hex() for entry in parse_tokens(file.read_bytes(), "file")]
    for arguments in ([], ["--json"]):
        printed = token("list", "--set", f"auth.file={file}", *arguments).stdout
        assert all(name in printed for name in ("one", "two", "a/", "admin"))
        assert not any(digest[:12] in printed for digest in digests)
    first, second = json.loads(token("list", "--file", file, "--json").stdout)
    assert first == {
        "name": "one",
        "scopes": ["read"],
        "prefixes": ["a/"],
        "expires": None,
        "expired": False,
        "place": str(file),
    }
    assert second["expired"] is False


def test_list_marks_what_is_over(file: Path) -> None:
    """A token whose time has come is listed, and is said to be over."""
    entry = f'[[tokens]]\nname = "one"\nsha256 = "{"0" * 64}"\nscopes = ["read"]\nexpires = 2020-01-01T00:00:00Z\n'
    file.write_text(entry, encoding="utf-8")
    assert "(over)" in token("list", "--file", file).stdout
    assert json.loads(token("list", "--file", file, "--json").stdout)[0]["expired"] is True


def test_revoke_takes_one_token_out(file: Path) -> None:
    """The others stay; a name that is not there is an error and changes nothing."""
    for name in ("one", "two"):
        token("create", name, "--scope", "read", "--file", file)
    assert token("revoke", "one", "--file", file).exit_code == 0
    assert names(file) == ["two"]
    result = token("revoke", "one", "--file", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert names(file) == ["two"]
    assert json.loads(token("revoke", "two", "--file", file, "--json").stdout)["left"] == 0
    assert names(file) == []


def test_revoke_says_where_it_cannot_reach(tmp_path: Path) -> None:
    """A token of the configuration is removed there; without any file there is nothing to change."""
    own = token("create", "own", "--scope", "read").stderr.partition("\n\n")[2]
    assert "--file" in token("revoke", "own").stderr
    (tmp_path / "kvcore.toml").write_text(own, encoding="utf-8")
    assert "configuration" in token("revoke", "own").stderr
