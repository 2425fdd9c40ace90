"""Who is let in, as settings say it: the modes, what does not go together, and what no message repeats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from kvcore.access import Authentication, Authenticator, Grant
from kvcore.authentication import open_authenticator, own_tokens, refuse_exposure
from kvcore.config import Resolved, describe, resolve
from kvcore.errors import PluginError, SettingsError
from kvcore.hookspecs import hookimpl
from kvcore.plugins import Plugins, load_plugins
from kvcore.runtime import open_node, open_worker
from kvcore.secret import Secret
from kvcore.tokens import digest_of
from tests.unit.core.given_plugins import FakePlugin

BACKENDS = {"KVCORE_CACHE__BACKEND": "fake", "KVCORE_QUEUE__BACKEND": "fake", "KVCORE_STORE__BACKEND": "fake"}
ONE = f'[[auth.tokens]]\nname = "one"\nsha256 = "{digest_of("kvc_one").hex()}"\nscopes = ["read"]\n'


class BadgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One that must be given, one that has a default, and a secret."""

    door: Annotated[str, msgspec.Meta(description="Which door.")]
    floor: Annotated[int, msgspec.Meta(ge=0, description="Which floor.")] = 0
    code: Annotated[Secret, msgspec.Meta(description="What the door asks for.")] = Secret("")


class Badges:
    """A plugin with a way to authenticate: the badge that is named like the door."""

    def __init__(self, name: str = "badge") -> None:
        self.name = name
        self.open_doors: list[str] = []

    @asynccontextmanager
    async def open(self, settings: BadgeSettings, failed: Callable[[], None]) -> AsyncIterator[Authenticator]:
        """Open a door, and close it."""
        self.failed = failed
        self.open_doors.append(settings.door)
        yield self
        self.open_doors.remove(settings.door)

    async def authenticate(self, token: str) -> Grant | None:
        return Grant(token, frozenset()) if token in self.open_doors else None

    @hookimpl
    def kvcore_authenticate(self) -> Iterable[Authentication]:
        """Give it."""
        return [Authentication(name=self.name, settings=BadgeSettings, open=self.open)]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file lies about."""
    monkeypatch.chdir(tmp_path)


def plugins(*given: Badges) -> Plugins:
    """Return the fake backends, and these plugins."""
    return load_plugins(
        (), extra=[("fake", FakePlugin()), *((f"badges {number}", one) for number, one in enumerate(given))]
    )


def resolved(toml: str = "", environment: Mapping[str, str] | None = None, *given: Badges, **flags: str) -> Resolved:
    """Put settings together; flags are those below auth."""
    file = Path("given.toml")
    file.write_text(toml, encoding="utf-8")
    paths = {f"auth.{name}": text for name, text in flags.items()}
    return resolve(plugins(*given), file=file, environment=BACKENDS | dict(environment or {}), flags=paths)


async def opened(settings: Resolved, *given: Badges) -> Authenticator | None:
    """Return who knows the tokens under these settings."""
    async with open_authenticator(settings, plugins(*given), failed=lambda: None) as authenticator:
        return authenticator


# --- modes ------------------------------------------------------------------------------------------------------------


async def test_tokens_are_asked_for_where_there_are_any(tmp_path: Path) -> None:
    """In the configuration, in a file, or in both, whose tokens are then all known."""
    file = tmp_path / "tokens.toml"
    file.write_text(ONE.replace("auth.tokens", "tokens").replace("one", "two").replace(
        digest_of("kvc_one").hex(), digest_of("kvc_two").hex()), encoding="utf-8")  # fmt: skip
    for toml, filed, known in ((ONE, None, {"one"}), ("", file, {"two"}), (ONE, file, {"one", "two"})):
        authenticator = await opened(resolved(toml, None, **({} if filed is None else {"file": str(filed)})))
        assert authenticator is not None
        grants = [await authenticator.authenticate(text) for text in ("kvc_one", "kvc_two")]
        assert {grant.name for grant in grants if grant} == known


async def test_nobody_is_asked_where_there_are_none_or_it_is_written_down() -> None:
    """Also where tokens are configured, `none` holds."""
    assert await opened(resolved()) is None
    assert await opened(resolved(mode="none")) is None
    assert await opened(resolved(ONE, mode="none")) is None


@pytest.mark.parametrize(
    "flags", [{"mode": "tokens"}, {"file": "empty.toml"}, {"mode": "tokens", "file": "empty.toml"}]
)
def test_tokens_that_are_asked_for_must_be_there(flags: dict[str, str]) -> None:
    """A file whose last token was revoked never opens a node to everybody."""
    Path("empty.toml").touch()
    with pytest.raises(SettingsError, match="there are none"):
        own_tokens(resolved("", None, **flags))


@pytest.mark.parametrize("name", ["open_health", "open_metrics", "open_docs", "open_console"])
def test_what_is_closed_needs_a_token_that_opens_it(name: str) -> None:
    """Nobody believes that the metrics of a worker are closed while there is no token to ask for."""
    with pytest.raises(SettingsError, match=rf"auth\.{name} = false.*kvctl token create"):
        own_tokens(resolved("", None, **{name: "false"}))
    assert own_tokens(resolved(ONE, None, **{name: "false"}))
    assert own_tokens(resolved("", None, mode="none", **{name: "false"})) is None


async def test_a_plugin_authenticates_instead() -> None:
    """`auth.mode` names its way; it is opened with its settings, and closed with the node."""
    badges = Badges()
    settings = resolved("[auth.badge]\ndoor = 'north'\n", None, badges, mode="badge")
    async with open_authenticator(settings, plugins(badges), failed=lambda: None) as authenticator:
        assert authenticator is badges
        assert badges.open_doors == ["north"]
    assert badges.open_doors == []


async def test_what_a_plugin_cannot_read_any_more_is_counted() -> None:
    """In a node and in a worker: what was withdrawn stays in force there, and somebody has to know."""
    badges = Badges()
    settings = resolved("[auth.badge]\ndoor = 'north'\n", None, badges, mode="badge")
    given = load_plugins((), extra=[("fake", FakePlugin()), ("badges", badges)])
    for opening in (open_node, open_worker):
        async with opening(settings, given) as instance:
            badges.failed()
            assert instance.metrics.registry.get_sample_value("kvcore_auth_file_errors_total") == 1


async def test_nodes_and_workers_open_it_before_their_tiers() -> None:
    """Without tokens that can be checked, no server is connected to."""
    settings = resolved(mode="tokens")
    for opening in (open_node, open_worker):
        fake = FakePlugin()
        with pytest.raises(SettingsError, match="there are none"):
            async with opening(settings, load_plugins((), extra=[("fake", fake)])):
                pytest.fail("it must not open")
        assert fake.log == []


# --- listening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "example", "localhost.example", "::ffff:1.2.3.4"],  # noqa: S104 - it does not open
)
async def test_an_open_node_must_not_listen_to_other_machines_by_oversight(host: str) -> None:
    """It says which setting opens it, where that comes from, and the two ways out; each of them is one."""
    environment = {"KVCORE_HTTP__HOST": host}
    with pytest.raises(SettingsError, match=r'http\.host.*KVCORE_HTTP__HOST.*kvctl token create.*auth\.mode = "none"'):
        refuse_exposure(resolved("", environment))
    with pytest.raises(SettingsError, match="no tokens are configured"):
        async with open_node(resolved("", environment), plugins()):
            pytest.fail("it must not open")
    refuse_exposure(resolved("", environment, mode="none"))
    refuse_exposure(resolved(ONE, environment))
    refuse_exposure(resolved("", environment, file="tokens.toml"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_an_open_node_may_listen_to_this_machine(host: str) -> None:
    """Every address of loopback is one."""
    refuse_exposure(resolved("", {"KVCORE_HTTP__HOST": host}))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_token_of_a_client_is_no_setting() -> None:
    """`KVCORE_TOKEN` is for commands that ask a node."""
    resolved("", {"KVCORE_TOKEN": "kvc_secret"})


def test_a_way_that_is_not_there_is_refused_with_those_that_are() -> None:
    """As a backend that is not there is."""
    with pytest.raises(PluginError, match=r"auth\.mode = 'bagde'.*there is none, tokens, badge;.*kvcore-auth-bagde"):
        resolved("", None, Badges(), mode="bagde")


@pytest.mark.parametrize("name", ["none", "tokens", "mode", "file", "open_docs"])
def test_a_plugin_cannot_take_a_name_that_means_something_else(name: str) -> None:
    """Nor change what a mode or a setting of kvcore's own means."""
    with pytest.raises(PluginError, match=f"'{name}'"):
        resolved("", None, Badges(name))


def test_two_plugins_of_one_way_are_refused() -> None:
    """Which of them would be asked is not left to chance."""
    with pytest.raises(PluginError, match="two plugins give a way to authenticate 'badge': 'badges 0' and 'badges 1'"):
        plugins(Badges(), Badges())


def test_the_settings_of_a_way_are_checked_described_and_shown() -> None:
    """Its table is `[auth.<name>]`, like that of a backend; what is missing or wrong is named, secrets are hidden."""
    assert {"auth.badge.door", "auth.badge.code_file"} <= {one.path for one in describe(plugins(Badges()))}
    found = resolved("[auth.badge]\ndoor = 'north'\ncode = '1234'", None, Badges(), mode="badge").flat()
    assert (found["auth.badge.door"], found["auth.badge.floor"], found["auth.badge.code"]) == ("north", 0, "******")
    for toml, told in (("", "auth.badge: .*door"), ("floor = -1", "auth.badge.floor"), ("roof = 1", "auth.badge.roof")):
        with pytest.raises(SettingsError, match=told):
            resolved(f"[auth.badge]\n{toml}", None, Badges(), mode="badge")
    assert not any(path.startswith("auth.badge") for path in resolved("", None, Badges()).flat())


def test_a_file_of_tokens_that_is_not_there_yet_is_told_how_to_make() -> None:
    """Whoever starts a node for the first time learns what to do, and which setting said so."""
    with pytest.raises(SettingsError, match=r"auth\.file = 'tokens\.toml' \(flag.*kvctl token create"):
        own_tokens(resolved(file="tokens.toml"))


@pytest.mark.parametrize("flags", [{"tokens": ""}, {"file": "tokens.toml"}])
def test_tokens_that_would_not_be_asked_are_refused(flags: dict[str, str]) -> None:
    """Where a plugin authenticates, nobody believes that a token of kvcore's own still works."""
    toml = "[auth.badge]\ndoor = 'north'\n" + (ONE if "tokens" in flags else "")
    with pytest.raises(SettingsError, match="would not be asked"):
        resolved(toml, None, Badges(), mode="badge", **{name: text for name, text in flags.items() if text})


@pytest.mark.parametrize(
    "tokens",
    [
        '[{"name": "one", "sha256": "kvc_secret", "scopes": ["read"]}]',
        '[{"name": "one", "sha256": "kvc_secret"}]',
        '[{"sha256": ["kvc_secret"]}]',
        '{"kvc_secret": 1}',
        '[{"token": "kvc_secret"}]',
        "kvc_secret",
        '["kvc_secret"]',
    ],
)
def test_a_token_that_stands_where_a_digest_should_is_not_repeated(tokens: str) -> None:
    """Neither from the environment nor from a file; the path and the place are named."""
    given: list[dict[str, Any]] = [{"environment": {"KVCORE_AUTH__TOKENS": tokens}}]
    if tokens.startswith("[{"):
        value = msgspec.json.decode(tokens)
        given.append({"toml": "auth.tokens = [{" + ", ".join(f'{key} = {msgspec.json.encode(item).decode()}'
                                                            for key, item in value[0].items()) + "}]"})  # fmt: skip
    for layer in given:
        with pytest.raises(SettingsError, match=r"^auth\.tokens") as refusal:
            resolved(**layer)
        assert "kvc_secret" not in str(refusal.value)


def test_digests_are_not_shown() -> None:
    """What is in force of a token is shown, but for its digest."""
    (shown,) = resolved(ONE).flat()["auth.tokens"]
    assert shown == {"name": "one", "sha256": "******", "scopes": ("read",), "prefixes": ("",), "expires": None}
