"""Settings: which layer wins, and what a refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from kvcore.config import Resolved, resolve
from kvcore.environment import LOCAL_URL
from kvcore.errors import PluginError, SettingsError
from tests.unit.core.given_plugins import fake_plugins

BACKENDS = {"KVCORE_CACHE__BACKEND": "fake", "KVCORE_QUEUE__BACKEND": "none", "KVCORE_STORE__BACKEND": "fake"}
PLUGINS = fake_plugins()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file lies about."""
    monkeypatch.chdir(tmp_path)


def resolved(
    toml: str = "", environment: Mapping[str, str] = MappingProxyType({}), *, flags: dict[str, str] | None = None
) -> Resolved:
    """Put layers together over the fake backends."""
    file = Path("given.toml")
    file.write_text(toml)
    return resolve(PLUGINS, file=file, environment={**BACKENDS, **environment}, flags=flags)


def test_a_list_that_is_no_json_is_refused_with_its_form() -> None:
    """Who writes a single text where a list is wanted is told how a list is written."""
    with pytest.raises(SettingsError, match="a list is written as JSON"):
        resolved(flags={"cache.fake.hosts": "a:1"})


@pytest.mark.parametrize("path", ["clock.max_ahead_s", "http.drain_s", "cache.ttl_s", "store.tombstone_retention_s"])
@pytest.mark.parametrize("text", ["inf", "nan", "1e300", "-1"])
def test_a_time_that_cannot_be_counted_is_refused(path: str, text: str) -> None:
    """Infinity is no number of milliseconds: it is refused at the start, and not at the first request that needs it."""
    with pytest.raises(SettingsError, match=f"^{path}: "):
        resolved(flags={path: text})


def test_each_layer_lies_over_the_one_before() -> None:
    """Defaults, profile, file, environment, flags: the last one that says something wins, and is named."""
    toml = "[http]\nport = 2\ndrain_s = 3\nshutdown_s = 4"
    found = resolved(toml, {"KVCORE_HTTP__PORT": "5", "KVCORE_HTTP__DRAIN_S": "6"}, flags={"http.port": "7"})
    http = found.settings.http
    assert (http.port, http.drain_s, http.shutdown_s, http.host) == (7, 6.0, 4.0, "127.0.0.1")
    assert found.sources["http.port"] == "flag for http.port"
    assert found.sources["http.drain_s"] == "environment variable KVCORE_HTTP__DRAIN_S"
    assert found.sources["http.shutdown_s"] == "given.toml"
    assert "http.host" not in found.sources


@pytest.mark.parametrize(
    ("toml", "environment", "flags", "profile"),
    [
        ("", {}, {}, "embedded"),
        ("profile = 'memory'", {}, {}, "memory"),
        ("profile = 'memory'", {"KVCORE_PROFILE": "production"}, {}, "production"),
        ("profile = 'memory'", {"KVCORE_PROFILE": "memory"}, {"profile": "embedded"}, "embedded"),
    ],
)
def test_the_profile_is_chosen_by_the_highest_layer(
    toml: str, environment: dict[str, str], flags: dict[str, str], profile: str
) -> None:
    """A profile lies below the file, whoever chooses it."""
    given = environment | {"KVCORE_QUEUE__BACKEND": "fake", "KVCORE_WORKER__IN_NODE": "true"}
    found = resolved(toml, environment=given, flags=flags)
    assert found.settings.profile == profile
    assert found.settings.http.drain_s == (5.0 if profile == "production" else 0.0)


REFUSED = {
    "unknown name": ("[http]\nprot = 1", {}, {}, ["http.prot", "did you mean 'port'", "given.toml"]),
    "unknown table": ("[htp]\nport = 1", {}, {}, ["htp", "did you mean 'http'", "given.toml"]),
    "unknown table with nothing in it": ("[htp]", {}, {}, ["htp", "did you mean 'http'", "given.toml"]),
    "unknown, nothing like it": ("[clock]\nxyz = 1", {}, {}, ["clock.xyz", "max_ahead_s", "given.toml"]),
    "unknown in the environment": ("", {"KVCORE_HTTP__PROT": "1"}, {}, ["http.prot", "KVCORE_HTTP__PROT"]),
    "unknown flag": ("", {}, {"http.prot": "1"}, ["http.prot", "flag for http.prot"]),
    "unknown of a backend": ("[store.fake]\npaht = 'x'", {}, {}, ["store.fake.paht", "'path'", "given.toml"]),
    "below a setting": ("", {"KVCORE_HTTP__PORT__X": "1"}, {}, ["http.port.x", "KVCORE_HTTP__PORT__X"]),
    "wrong type": ("[http]\nport = 'x'", {}, {}, ["http.port", "'x'", "given.toml"]),
    "a number as text in a file": ("[http]\nport = '80'", {}, {}, ["http.port", "given.toml"]),
    "wrong type in the environment": ("", {"KVCORE_HTTP__PORT": "x"}, {}, ["http.port", "KVCORE_HTTP__PORT"]),
    "out of range": ("[http]\nport = 65536", {}, {}, ["http.port", "65536", "given.toml"]),
    "out of range by a flag": ("", {}, {"limits.max_key_bytes": "0"}, ["limits.max_key_bytes", "flag"]),
    "not a boolean": ("", {"KVCORE_WORKER__IN_NODE": "perhaps"}, {}, ["worker.in_node", "KVCORE_WORKER__IN_NODE"]),
    "a table as a value": ("", {"KVCORE_HTTP": "x"}, {}, ["http", "table", "KVCORE_HTTP"]),
    "unknown profile": ("profile = 'x'", {}, {}, ["profile", "'x'", "embedded", "given.toml"]),
    "not TOML": ("[http", {}, {}, ["given.toml", "not valid TOML"]),
    "what a backend needs": ("", {"KVCORE_STORE__BACKEND": "needy"}, {}, ["store.needy", "url"]),
    "a list that is none": (
        "",
        {"KVCORE_STORE__FAKE__HOSTS": "[1"},
        {},
        ["store.fake.hosts", "KVCORE_STORE__FAKE__HOSTS"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_path_and_the_source(name: str) -> None:
    """Whoever reads it knows what is wrong and where it stands."""
    toml, environment, flags, parts = REFUSED[name]
    with pytest.raises(SettingsError) as refused:
        resolved(toml, environment=environment, flags=flags)
    for part in parts:
        assert part in str(refused.value)


WORKER = {"KVCORE_QUEUE__BACKEND": "fake", "KVCORE_WORKER__IN_NODE": "true"}
COMBINATIONS = {
    "a private cache before a shared store": ({"KVCORE_CACHE__BACKEND": "private"}, ["cache.backend", "store.backend"]),
    "a durable queue before a forgetful store": (
        WORKER | {"KVCORE_STORE__BACKEND": "forgetful"},
        ["queue.backend", "store.backend", "forgets"],
    ),
    "a worker elsewhere that sees nothing": (
        {"KVCORE_QUEUE__BACKEND": "forgetful"},
        ["queue.backend", "worker.in_node", "default"],
    ),
    "a worker without a queue": ({"KVCORE_WORKER__IN_NODE": "true"}, ["worker.in_node", "nothing for a worker to do"]),
    "a burst without a rate": (
        {"KVCORE_LIMITS__ADDRESS_BURST": "10"},
        ["limits.address_burst", "limits.address_rate_per_s", "KVCORE_LIMITS__ADDRESS_BURST"],
    ),
    "deletes forgotten too early": (
        {"KVCORE_STORE__TOMBSTONE_RETENTION_S": "60"},
        ["store.tombstone_retention_s", "cache.pending_ttl_s", "KVCORE_STORE__TOMBSTONE_RETENTION_S"],
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    """Each setting alone would do; the message names all of them, and why."""
    environment, parts = COMBINATIONS[name]
    with pytest.raises(SettingsError) as refused:
        resolved(environment=environment)
    for part in parts:
        assert part in str(refused.value)


def test_a_backend_that_is_not_there_is_refused() -> None:
    """The choice is checked when the settings are."""
    with pytest.raises(PluginError, match="no store backend 'x'"):
        resolved(environment={"KVCORE_STORE__BACKEND": "x"})


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PATH", "[::1]", "[::1]"),
        ("PATH", "{x}", "{x}"),
        ("SIZE", "12", 12),
        ("RATIO", "2", 2.0),
        ("ON", "true", True),
        ("ON", "0", False),
        ("HOSTS", '["a", "b"]', ["a", "b"]),
        ("HOSTS", "[]", []),
    ],
)
def test_text_from_the_environment_becomes_what_the_setting_needs(variable: str, text: str, expected: object) -> None:
    """Numbers, booleans and lists are written as text there; what is text stays text."""
    found = resolved(environment={f"KVCORE_STORE__FAKE__{variable}": text})
    value = found.flat()[f"store.fake.{variable.lower()}"]
    assert (list(value) if isinstance(value, tuple) else value) == expected


def test_the_file_can_be_named_by_the_environment() -> None:
    """KVCORE_CONFIG names the file; without it kvcore.toml in the current folder is taken."""
    Path("named.toml").write_text("[http]\nport = 1")
    Path("kvcore.toml").write_text("[http]\nport = 2")
    assert resolve(PLUGINS, environment=BACKENDS | {"KVCORE_CONFIG": "named.toml"}).settings.http.port == 1
    assert resolve(PLUGINS, environment=BACKENDS).settings.http.port == 2
    Path("kvcore.toml").unlink()
    assert resolve(PLUGINS, environment=BACKENDS).settings.http.port == 8000


def test_a_named_file_that_is_not_there_is_refused() -> None:
    """Going on without what was asked for would be a surprise later."""
    with pytest.raises(SettingsError, match=r"missing\.toml cannot be read"):
        resolve(PLUGINS, environment=BACKENDS | {"KVCORE_CONFIG": "missing.toml"})


def test_a_backends_own_settings_come_from_its_own_table() -> None:
    """The table of a backend that is not chosen is checked too, and not used."""
    found = resolved("[store.fake]\nsize = 5\n[store.needy]\nurl = 'x'")
    assert found.flat()["store.fake.size"] == 5
    assert "store.needy.url" not in found.flat()


def test_everything_that_does_not_go_together_is_told_at_once() -> None:
    """Nobody has to start again for each."""
    with pytest.raises(SettingsError) as refused:
        resolved(flags={"limits.token_burst": "5", "limits.address_burst": "5"})
    assert str(refused.value).count("without a rate") == 2


def test_clients_ask_where_a_node_listens_by_default() -> None:
    """Neither has to be told of the other."""
    http = resolved().settings.http
    assert f"http://{http.host}:{http.port}" == LOCAL_URL
