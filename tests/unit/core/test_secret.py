"""Secrets: they come from any layer or a file, and are seen nowhere."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from kvcore.backends import Factory
from kvcore.config import Resolved, describe, resolve
from kvcore.errors import SettingsError
from kvcore.hookspecs import hookimpl
from kvcore.plugins import load_plugins
from kvcore.secret import Secret
from tests.unit.core.fakes import FakeCache, FakeStore

WORD = "swordfish"
BACKENDS = {"KVCORE_CACHE__BACKEND": "locked", "KVCORE_QUEUE__BACKEND": "none", "KVCORE_STORE__BACKEND": "plain"}


class LockedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings with a secret."""

    password: Annotated[Secret | None, Meta(description="Password.")] = None
    name_file: str = "an ordinary setting, whatever its name"


class PlainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings without one."""


@asynccontextmanager
async def _never(settings: Any) -> AsyncIterator[Any]:
    yield None


class LockedPlugin:
    """Gives a cache that needs a password, and a store that does not."""

    @hookimpl
    def kvcore_caches(self) -> Iterable[Factory[Any]]:
        return [Factory(name="locked", backend=FakeCache, settings=LockedSettings, open=_never)]

    @hookimpl
    def kvcore_stores(self) -> Iterable[Factory[Any]]:
        return [Factory(name="plain", backend=FakeStore, settings=PlainSettings, open=_never)]


PLUGINS = load_plugins((), extra=[("locked", LockedPlugin())])


def resolved(toml: str = "", environment: Mapping[str, str] = MappingProxyType({}), **flags: str) -> Resolved:
    """Put layers together over the backend with a secret."""
    file = Path("given.toml")
    file.write_text(toml)
    return resolve(PLUGINS, file=file, environment={**BACKENDS, **environment}, flags=flags)


def password_of(found: Resolved) -> Secret | None:
    """Return the password that the backend would get."""
    settings = found.backends["cache"]
    assert isinstance(settings, LockedSettings)
    return settings.password


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file lies about."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("toml", "environment"),
    [(f"[cache.locked]\npassword = '{WORD}'", {}), ("", {"KVCORE_CACHE__LOCKED__PASSWORD": WORD})],
    ids=["file", "environment"],
)
def test_a_secret_is_given_as_any_setting_is(toml: str, environment: Mapping[str, str]) -> None:
    """Every layer can hold it, and the backend gets it."""
    assert password_of(resolved(toml, environment)) == Secret(WORD)


@pytest.mark.parametrize("text", ["5", "true", "[a", '{"a": 1}', " a ", "é"])
def test_a_secret_of_the_environment_is_taken_as_it_is(text: str) -> None:
    """It is text, whatever it looks like."""
    assert password_of(resolved(environment={"KVCORE_CACHE__LOCKED__PASSWORD": text})) == Secret(text)


@pytest.mark.parametrize("written", [WORD, f"{WORD}\n", f"{WORD}\r\n"])
def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path, written: str) -> None:
    """`password_file` names the file; the end of its last line does not belong to the secret, and the source is told."""
    file = tmp_path / "secret"
    file.write_bytes(written.encode())
    found = resolved(environment={"KVCORE_CACHE__LOCKED__PASSWORD_FILE": str(file)})
    assert password_of(found) == Secret(WORD)
    assert found.sources["cache.locked.password"] == (
        f"{file}, by environment variable KVCORE_CACHE__LOCKED__PASSWORD_FILE"
    )


def test_a_file_that_cannot_be_read_is_a_refusal() -> None:
    """The message has the setting, the file and the layer."""
    with pytest.raises(SettingsError, match=r"^cache\.locked\.password_file: .*nowhere.*given\.toml"):
        resolved("[cache.locked]\npassword_file = 'nowhere'")


def test_a_secret_and_its_file_are_not_both_given(tmp_path: Path) -> None:
    """Nobody has to guess which of them is in force, in whatever layers they are."""
    (tmp_path / "secret").write_text("other")
    with pytest.raises(SettingsError, match="both set") as caught:
        resolved(f"[cache.locked]\npassword = '{WORD}'", {"KVCORE_CACHE__LOCKED__PASSWORD_FILE": "secret"})
    assert WORD not in str(caught.value)


@pytest.mark.parametrize("wrong", ["5", "['swordfish']", "{ a = 'swordfish' }"])
def test_a_wrong_value_is_refused_without_being_shown(wrong: str) -> None:
    """A refusal has the path, and not what may be a secret with a mistake in it."""
    with pytest.raises(SettingsError, match=r"^cache\.locked\.password") as caught:
        resolved(f"[cache.locked]\npassword = {wrong}")
    assert WORD not in str(caught.value)


def test_a_text_where_a_table_belongs_is_refused_without_being_shown() -> None:
    """Who gives a whole table in one variable, the secrets in it too, does not see them in the refusal."""
    with pytest.raises(SettingsError, match=r"^cache\.locked: this is a table") as caught:
        resolved(environment={"KVCORE_CACHE__LOCKED": f'{{"password": "{WORD}"}}'})
    assert WORD not in str(caught.value)


def test_a_secret_is_seen_nowhere() -> None:
    """Not in its representation, that of the settings around it, a listing, a message or a pickle."""
    found = resolved(f"[cache.locked]\npassword = '{WORD}'")
    secret = password_of(found)
    assert secret is not None
    assert secret.reveal() == WORD
    shown = [repr(secret), str(secret), f"{secret}", repr(found), repr(found.backends), repr(found.flat())]
    assert not [text for text in shown if WORD in text]
    assert found.flat()["cache.locked.password"] == "******"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)


def test_both_settings_of_a_secret_are_described() -> None:
    """Documents list the secret and its file; another setting whose name ends alike has no part in this."""
    described = {setting.path: setting.description for setting in describe(PLUGINS)}
    assert described["cache.locked.password"] == "Password."
    assert "`password`" in described["cache.locked.password_file"]
    assert password_of(resolved("[cache.locked]\nname_file = 'x'")) is None
