"""`kvctl config`: show, check and init."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.cli._toml import literal
from kvcore.config import describe
from kvcore.plugins import load_plugins
from kvcore.settings import PROFILES


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that no kvcore.toml is found by chance."""
    monkeypatch.chdir(tmp_path)


def config(*arguments: str) -> Result:
    """Run `kvctl config`."""
    return CliRunner().invoke(app, ["config", *arguments])


def test_show_tells_every_setting_and_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value is shown with the layer that it comes from: default, profile, file, environment or flag."""
    Path("kvcore.toml").write_text("[cache]\nttl_s = 60\n", encoding="utf-8")
    monkeypatch.setenv("KVCORE_HTTP__PORT", "9001")
    found = json.loads(config("show", "--profile", "memory", "--set", "http.host=::1", "--json").stdout)
    assert found["clock.max_ahead_s"] == {"value": 60.0, "source": "default"}
    assert found["worker.in_node"] == {"value": True, "source": "profile memory"}
    assert found["cache.ttl_s"] == {"value": 60, "source": "kvcore.toml"}
    assert found["http.port"] == {"value": 9001, "source": "environment variable KVCORE_HTTP__PORT"}
    assert found["http.host"] == {"value": "::1", "source": "flag for http.host"}
    assert {"cache.memory.max_bytes", "queue.memory.max_messages"} <= found.keys()


def test_show_prints_toml_that_says_the_same() -> None:
    """The text of `config show` is TOML, so that it can be read back."""
    text = tomllib.loads(config("show").stdout)
    assert text["http"]["port"] == 8000
    assert text["store"]["backend"] == "sqlite"


def test_a_named_option_wins_over_set() -> None:
    """--profile says what it says also when --set names another."""
    found = json.loads(config("show", "--set", "profile=embedded", "--profile", "memory", "--json").stdout)
    assert found["profile"]["value"] == "memory"


def test_check_accepts_what_can_work_and_names_what_cannot(tmp_path: Path) -> None:
    """`config check` is 0 for a configuration that can start, and 1 with path and source for one that cannot."""
    good = tmp_path / "good.toml"
    good.write_text('profile = "memory"\n', encoding="utf-8")
    assert json.loads(config("check", "--config", str(good), "--json").stdout)["store"] == "memory"
    bad = tmp_path / "bad.toml"
    bad.write_text("[http]\nprot = 1\n", encoding="utf-8")
    result = config("check", "--config", str(bad))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "http.prot" in result.stderr
    assert str(bad) in result.stderr


def test_check_tries_out_what_tokens_are_checked_by(tmp_path: Path) -> None:
    """A file of keys or tokens that is not there keeps a node from starting, so it is told by its setting."""
    nowhere = str(tmp_path / "none")
    jwt = {"auth.mode": "jwt", "auth.jwt.keys": nowhere, "auth.jwt.issuer": "i", "auth.jwt.audience": "a"}
    for settings, path in ((jwt, "auth.jwt.keys"), ({"auth.file": nowhere}, "auth.file")):
        overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        result = config("check", *overrides)
        assert (result.exit_code, path in result.stderr, nowhere in result.stderr) == (1, True, True), result.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_init_writes_every_setting_with_its_description(profile: str) -> None:
    """The file that `config init` writes names and describes all that can be set."""
    assert config("init", "--profile", profile).exit_code == 0
    text = Path("kvcore.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["profile"] == profile
    for setting in describe(load_plugins()):
        assert f"\n# {setting.path.rpartition('.')[2]} " in text or setting.path == "profile"
        assert setting.description.split(" ")[0] in text


@pytest.mark.parametrize("profile", ["memory", "embedded"])
def test_init_shows_what_is_in_force_without_it(profile: str) -> None:
    """Uncommenting every line of the file changes nothing but the source."""
    before = json.loads(config("show", "--profile", profile, "--json").stdout)
    config("init", "--profile", profile)
    file = Path("kvcore.toml")
    lines = file.read_text(encoding="utf-8").splitlines()
    names = {setting.path.rpartition(".")[2] for setting in describe(load_plugins())}
    uncommented = [line[2:] if line[2:].partition(" = ")[0] in names else line for line in lines]
    assert sum(line != other for line, other in zip(lines, uncommented, strict=True)) >= len(before) - 1
    file.write_text("\n".join(uncommented), encoding="utf-8")
    after = json.loads(config("show", "--json").stdout)
    assert {path: setting["value"] for path, setting in after.items()} == {
        path: setting["value"] for path, setting in before.items()
    }
    assert after["http.port"]["source"] == "kvcore.toml"


def test_init_replaces_a_file_only_when_it_is_told_to() -> None:
    """An existing file is left alone without --force."""
    file = Path("kvcore.toml")
    file.write_text("# mine\n", encoding="utf-8")
    result = config("init")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert file.read_text(encoding="utf-8") == "# mine\n"
    assert config("init", "--force").exit_code == 0
    assert "[http]" in file.read_text(encoding="utf-8")


def test_init_says_in_one_line_what_it_cannot_do(tmp_path: Path) -> None:
    """An unknown profile, and a folder that is not there, are one clear line."""
    for arguments in (["--profile", "fancy"], [str(tmp_path / "nowhere" / "kvcore.toml")]):
        result = config("init", *arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert arguments[-1] in result.stderr


@pytest.mark.parametrize("value", ["", 'a "b" \\ \x7f\n é', True, 0, -1, 0.5, 1e300, [], ["a", 1], {"a b": [True]}])
def test_a_literal_reads_back_as_the_value(value: object) -> None:
    """Every kind of value that a setting has is written as TOML reads it."""
    assert tomllib.loads(f"value = {literal(value)}") == {"value": value}
