"""Settings: what there is to set, and where each value comes from.

Four layers, each over the one before: the defaults here and in the plugins; the profile, then the TOML file; the
environment (`KVCORE_STORE__SQLITE__PATH` is `store.sqlite.path`); flags. Every value is checked on its own, so that a
refusal names the setting's path and the layer that the value came from. Names that do not exist are refused everywhere.

A setting that is a `Secret` has a twin, with `_file` at the end of its name: the file to read it from.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from ipaddress import ip_network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from kvcore.backends import MAX_KEY_BYTES, Ability, Kind
from kvcore.errors import PluginError, SettingsError
from kvcore.plugins import KINDS, Plugins
from kvcore.secret import HIDDEN, Secret, as_secret
from kvcore.tokens import Token

__all__ = (
    "CONFIG_VARIABLE",
    "NO_QUEUE",
    "OPEN",
    "OWN_TOKENS",
    "PROFILES",
    "AuthSettings",
    "CacheSettings",
    "ClockSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "QueueSettings",
    "Resolved",
    "Setting",
    "Settings",
    "StoreSettings",
    "TierSettings",
    "TracingSettings",
    "WorkerSettings",
    "describe",
    "resolve",
)

PREFIX: Final = "KVCORE_"
CONFIG_VARIABLE: Final = "KVCORE_CONFIG"
URL_VARIABLE: Final = "KVCORE_URL"
TOKEN_VARIABLE: Final = "KVCORE_TOKEN"  # noqa: S105 - the name of a variable, not a token
"""Not settings of a node: where a client finds one, and the token that it sends."""
DEFAULT_FILE: Final = "kvcore.toml"
DEFAULT_PROFILE: Final = "embedded"
PROFILES: Final = ("memory", "embedded", "production")
NO_QUEUE: Final = "none"
OPEN: Final = "none"
"""`auth.mode` of a node that asks nobody for a token."""
OWN_TOKENS: Final = "tokens"
"""`auth.mode` of a node that asks for tokens of kvcore's own."""
_FILE: Final = "_file"

_LONGEST_S: Final = 100 * 366 * 86_400.0
"""A hundred years. What is longer, infinity above all, overflows where times are counted in whole milliseconds."""
Seconds = Annotated[float, Meta(gt=0, le=_LONGEST_S)]
Count = Annotated[int, Meta(ge=1)]
Patience = Annotated[float, Meta(ge=1, le=_LONGEST_S)]
"""Seconds that a client may take. They are looked at once a second."""
Rate = Annotated[float, Meta(gt=0, le=1e6)]


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The clock that stamps versions."""

    max_ahead_s: Annotated[
        Seconds,
        Meta(
            description="How far versions may run ahead of this node's clock. Beyond it writes are refused: a clock is wrong."
        ),
    ] = 60.0


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a request may weigh."""

    max_key_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_KEY_BYTES,
            description="Longest key, in bytes of UTF-8. The store's own limit applies where it is lower.",
        ),
    ] = MAX_KEY_BYTES
    max_value_bytes: Annotated[
        int,
        Meta(
            ge=65_536,
            le=1 << 30,
            description="Largest value, in bytes. The store's own limit applies where it is lower.",
        ),
    ] = 1 << 20
    batch_operations: Annotated[Count, Meta(description="Most operations of one batch.")] = 1000
    batch_bytes: Annotated[Count, Meta(description="Largest body of one batch, in bytes.")] = 8 << 20
    page_bytes: Annotated[
        Count,
        Meta(
            description="About the most bytes of values in one page of a listing, or read by one batch, unless one alone is larger."
        ),
    ] = 8 << 20
    write_deadline_s: Annotated[
        Seconds, Meta(description="After this time a write that has no answer yet is answered 503, outcome unknown.")
    ] = 2.0
    read_deadline_s: Annotated[
        Seconds,
        Meta(
            description="After this time a read that has no answer yet, and does not wait for a version, is answered 503."
        ),
    ] = 2.0
    token_rate_per_s: Annotated[
        Rate | None,
        Meta(description="Requests per second that each token may send; more are answered 429. Not set: any number."),
    ] = None
    token_burst: Annotated[
        Count | None,
        Meta(description="How many it may send at once after a pause. Not set: what a second allows, at least 1."),
    ] = None
    address_rate_per_s: Annotated[
        Rate | None,
        Meta(
            description="Requests per second that each address may send, an IPv6 network of 64 bits being one; more are answered"
            " 429. Not set: any number."
        ),
    ] = None
    address_burst: Annotated[
        Count | None,
        Meta(description="How many it may send at once after a pause. Not set: what a second allows, at least 1."),
    ] = None
    concurrent_requests: Annotated[Count, Meta(description="Requests served at once; more are answered 503.")] = 1000
    connections: Annotated[
        Count, Meta(description="Connections open at once; one more is answered 503 and closed.")
    ] = 4096
    buffered_bytes: Annotated[
        Count,
        Meta(
            description="About the most bytes of bodies that are being received, and of answers that clients have not taken yet, all"
            " connections together, unless one alone is larger. Beyond it, who has left the most untaken is cut off; then bodies"
            " are answered 503."
        ),
    ] = 256 << 20


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP server of a node."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8000
    processes: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Processes that serve the port, each with connections and limits of its own: about as many as the machine has"
            " cores for it. More than one needs a cache, a queue and a store that other processes can use.",
        ),
    ] = 1
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names by which the node may be asked while it lets everybody in because no tokens are configured, besides"
            " `localhost` and addresses: so no web page can reach it under a name of its own."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses and networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`."
            " The client's address is the last one in it that is not one of these."
        ),
    ] = ()
    head_timeout_s: Annotated[
        Patience, Meta(description="How long the head of a request may take from its first byte; then 408.")
    ] = 10.0
    body_timeout_s: Annotated[
        Patience,
        Meta(description="How long a body may come more slowly than `http.min_bytes_per_s`, or not at all; then 408."),
    ] = 10.0
    send_timeout_s: Annotated[
        Patience,
        Meta(
            description="How long a client may take an answer more slowly than `http.min_bytes_per_s`, or not at all;"
            " then its connection is closed."
        ),
    ] = 30.0
    min_bytes_per_s: Annotated[
        Count, Meta(description="Bytes per second at which a body or an answer may go on for as long as it is.")
    ] = 1024
    keep_alive_s: Annotated[
        Patience,
        Meta(
            description="How long a connection without a request stays open. Longer than load balancers keep theirs, commonly 60 s."
        ),
    ] = 75.0
    drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LONGEST_S,
            description="After SIGTERM: how long the node says that it is not ready, and still serves, so that load balancers notice.",
        ),
    ] = 0.0
    shutdown_s: Annotated[
        Seconds, Meta(description="How long requests in flight may take to end before their connections are closed.")
    ] = 10.0


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is let in. A way to authenticate that a plugin gives has its settings in a table of its own, `[auth.<name>]`."""

    mode: Annotated[
        str | None,
        Meta(
            description="`tokens`: ask for kvcore's own tokens. `none`: let everybody do everything. Or the name of a way that a plugin"
            " gives. Not set: ask for tokens where any are configured; else let everybody who is on this machine in, and listen there only."
        ),
    ] = None
    tokens: Annotated[
        tuple[Token, ...],
        Meta(
            description="Tokens, as `kvctl token create` prints them: tables with name, sha256, scopes, prefixes and expires."
        ),
    ] = ()
    file: Annotated[
        str | None,
        Meta(
            description="File of more of them, as `[[tokens]]`, which `kvctl token` writes; read again within a second when it has changed."
        ),
    ] = None
    open_health: Annotated[
        bool,
        Meta(description="Answer /health without a token. /health/live and /health/ready never ask for one."),
    ] = True
    open_metrics: Annotated[bool, Meta(description="Answer /metrics without a token.")] = True
    open_docs: Annotated[bool, Meta(description="Show /docs, with the description of the API, without a token.")] = True
    open_console: Annotated[
        bool, Meta(description="Show the page at / without a token; what it reads of a node needs one all the same.")
    ] = True


class TierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is common to the three tiers."""

    backend: Annotated[str, Meta(min_length=1, description="Name of the backend; `kvctl plugins` lists them.")]
    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call.")] = 0.8
    failures: Annotated[Count, Meta(description="Failed calls in a row after which the circuit breaker opens.")] = 3
    recovery_s: Annotated[
        Seconds, Meta(description="How long an open circuit breaker waits before it lets one call try again.")
    ] = 0.5
    in_flight: Annotated[Count, Meta(description="Bulk calls of one operation under way at once.")] = 2
    batch: Annotated[Count, Meta(description="Most items in one bulk call.")] = 1000
    batch_bytes: Annotated[
        Count, Meta(description="About the most bytes in one bulk call, unless one item alone is larger.")
    ] = 1 << 20
    waiting: Annotated[
        Count, Meta(description="Most items of one operation that wait for a bulk call; more are refused with 503.")
    ] = 10_000
    waiting_bytes: Annotated[
        Count, Meta(description="About the most bytes that wait for a bulk call; what comes then is refused with 503.")
    ] = 64 << 20


class CacheSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cache tier, and how long its slots live."""

    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call.")] = 0.1
    failures: Annotated[Count, Meta(description="Failed calls in a row after which the circuit breaker opens.")] = 1
    ttl_s: Annotated[Seconds, Meta(description="Lifetime of an entry that the store has.")] = 3600.0
    pending_ttl_s: Annotated[
        Seconds, Meta(description="Lifetime of an entry that was accepted and that the store may not have yet.")
    ] = 86_400.0
    missing_ttl_s: Annotated[Seconds, Meta(description="Lifetime of the knowledge that a key does not exist.")] = 30.0
    lease_ttl_s: Annotated[Seconds, Meta(description="Lifetime of a lease: a fill that takes longer is lost.")] = 10.0
    ttl_jitter: Annotated[
        float,
        Meta(
            ge=0, le=0.5, description="Random part of lifetimes, so that entries filled together do not end together."
        ),
    ] = 0.1


class QueueSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The queue tier; backend "none" means that the node writes to the store itself."""


class StoreSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The store tier, and how long it remembers what was deleted."""

    tombstone_retention_s: Annotated[
        Seconds, Meta(description="How long deleted and expired keys are remembered; longer than any message can wait.")
    ] = 7 * 86_400.0
    purge_interval_s: Annotated[
        Seconds, Meta(description="Time between two purges of what need not be remembered.")
    ] = 3600.0


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The worker, which drains the queue into the store."""

    host: Annotated[
        str,
        Meta(
            min_length=1, description="Address that a worker in a process of its own answers /health and /metrics at."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port for these; 0 takes a free one.")] = 8001

    in_node: Annotated[
        bool, Meta(description="Run a worker inside the API node too (`kvctl serve --with-worker`).")
    ] = False
    batch: Annotated[Count, Meta(description="Most mutations in one bulk call to the store.")] = 1000
    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call of a worker.")] = 30.0
    backoff_s: Annotated[
        Seconds, Meta(description="First pause after a tier could not be reached; doubles up to 16 times as much.")
    ] = 0.1
    drain_s: Annotated[
        Seconds, Meta(description="How long a worker that is stopped may take to finish what it has in hand.")
    ] = 10.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node or worker says on stderr."""

    format: Annotated[
        Literal["auto", "json", "text"],
        Meta(
            description="`json`: one JSON object a line. `text`: lines for people. `auto`: text where stderr is a terminal, else JSON."
        ),
    ] = "text"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is worth a line.")
    ] = "info"
    requests: Annotated[
        bool,
        Meta(
            description="Write a line for each request that a node answers, and for each write that a worker has applied: for"
            " finding things out, since it costs about as much as the request."
        ),
    ] = False
    keys: Annotated[
        Literal["hashed", "plain"],
        Meta(
            description="How a line names a key: `hashed`, by the first 16 hex digits of its SHA-256, or `plain`, as it is."
        ),
    ] = "hashed"


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Spans of what happens to a request. An exporter that a plugin gives has its settings in a table of its own, `[tracing.<name>]`."""

    exporter: Annotated[
        str | None,
        Meta(
            description="The way to export spans that a plugin gives, such as `otel`. Not set: none are made; a `traceparent` is passed on"
            " and logged all the same."
        ),
    ] = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of the core. Those of a backend stand in a table of its own, `[<kind>.<name>]`."""

    profile: Annotated[str, Meta(description=f"What to start from: {', '.join(PROFILES)}.")] = DEFAULT_PROFILE
    clock: ClockSettings = ClockSettings()
    limits: LimitSettings = LimitSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    cache: CacheSettings
    queue: QueueSettings
    store: StoreSettings
    worker: WorkerSettings = WorkerSettings()


Where = tuple[str, ...]


class Setting(msgspec.Struct, frozen=True):
    """One setting, for documents and listings. `default` is `msgspec.NODEFAULT` where it must be given."""

    path: str
    type: Any
    default: Any
    description: str


class Value(msgspec.Struct, frozen=True):
    """A value as a layer gives it; `text` when it comes from where there is only text."""

    raw: Any
    source: str
    text: bool = False


class Resolved(msgspec.Struct, frozen=True):
    """Settings that were checked, the chosen backends' own settings by kind, and where each value came from.

    `authentication` is what the chosen way to authenticate has of settings, `tracing` the chosen way to export spans; None:
    no plugin's is chosen.
    """

    settings: Settings
    backends: dict[Kind, msgspec.Struct]
    sources: dict[str, str]
    authentication: msgspec.Struct | None = None
    tracing: msgspec.Struct | None = None

    def flat(self) -> dict[str, Any]:
        """Return every setting in force by its path, those of the chosen backends included; secrets are hidden."""
        tables: dict[Where, msgspec.Struct] = {(): self.settings}
        if self.authentication is not None:
            tables["auth", str(self.settings.auth.mode)] = self.authentication
        if self.tracing is not None:
            tables["tracing", str(self.settings.tracing.exporter)] = self.tracing
        tables |= {(kind, getattr(self.settings, kind).backend): own for kind, own in self.backends.items()}
        found: dict[Where, Any] = {}
        for path, table in tables.items():
            found |= _leaves(path, msgspec.to_builtins(table, enc_hook=_hidden))
        return {".".join(path): value for path, value in found.items()}


def resolve(
    plugins: Plugins,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Resolved:
    """Put the layers together and check the result.

    `file` None: the file that `KVCORE_CONFIG` names, or else `kvcore.toml` in the current folder where there is one.
    `flags` maps paths, such as "http.port", to text.

    Raises:
        SettingsError: with the path and the source of what is wrong.
        PluginError: a backend that is chosen is not there.
    """
    environment = os.environ if environment is None else environment
    schema = _schema(plugins)
    layers = [_file_values(file, environment), _environment_values(environment), _flag_values(flags or {})]
    profile = next((layer[("profile",)] for layer in reversed(layers) if ("profile",) in layer), None)
    values: dict[Where, Value] = {}
    for layer in (_profile_values(profile), *layers):
        values |= layer
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for given, value in values.items():
        checked = _checked(schema, given, value)
        path, source = given, value.source
        if _is_file_of_secret(schema, given):
            path = (*given[:-1], given[-1].removesuffix(_FILE))
            if path in values:
                raise SettingsError(
                    f"{'.'.join(path)}: this and {given[-1]} are both set; set one of them"
                    f" (from {values[path].source} and {source})"
                )
            checked, source = _read_secret(".".join(given), checked, source), f"{checked}, by {source}"
        if checked != {}:
            _put(tree, path, checked)
        sources[".".join(path)] = source
    resolved = _build(plugins, tree, sources)
    _check_networks(resolved)
    _refuse_combinations(plugins, resolved)
    return resolved


def describe(plugins: Plugins) -> list[Setting]:
    """Return every setting that there is, in the order of the documentation."""
    found: list[Setting] = []

    def walk(path: Where, node: Any) -> None:
        if isinstance(node, dict):
            for name, inner in node.items():
                walk((*path, name), inner)
        else:
            found.append(Setting(".".join(path), node.type, node.default, _description(node.type)))

    walk((), _schema(plugins))
    return found


# --- the schema: a tree of tables whose leaves are msgspec's fields ---------------------------------------------------


def _schema(plugins: Plugins) -> dict[str, Any]:
    tree = _table(Settings)
    for kind in KINDS:
        for name, factory in sorted(plugins.factories[kind].items()):
            tree[kind][name] = _table(factory.settings)
    for name, authentication in sorted(plugins.authentications.items()):
        if name in tree["auth"] or name in (OPEN, OWN_TOKENS):
            raise PluginError(
                f"a plugin gives a way to authenticate {name!r}, which means something else in auth; remove it"
            )
        tree["auth"][name] = _table(authentication.settings)
    for name, tracing in sorted(plugins.tracings.items()):
        if name in tree["tracing"]:
            raise PluginError(f"a plugin gives an exporter {name!r}, which means something else in tracing; remove it")
        tree["tracing"][name] = _table(tracing.settings)
    return tree


def _table(struct: type[msgspec.Struct]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        table[field.name] = (
            _table(field.type) if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else field
        )
        if _may_be(Secret, field.type):
            name = field.name + _FILE
            described = Annotated[
                str | None, Meta(description=f"File that holds `{field.name}`, which is not set then.")
            ]
            table[name] = msgspec.structs.FieldInfo(name, name, described, default=None)
    return table


def _is_file_of_secret(schema: dict[str, Any], path: Where) -> bool:
    """Tell whether a path, which is one of the schema's, is that of the twin of a secret."""
    node: Any = schema
    for name in path[:-1]:
        node = node[name]
    twin = node.get(path[-1].removesuffix(_FILE)) if path[-1].endswith(_FILE) else None
    return isinstance(twin, msgspec.structs.FieldInfo) and _may_be(Secret, twin.type)


def _read_secret(path: str, file: str, source: str) -> Secret:
    """Read a secret: all that the file holds, but for a line's end at the end."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: the file {file!r} cannot be read: {error} (from {source})") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _description(type_: Any) -> str:
    for extra in get_args(type_)[1:] if get_origin(type_) is Annotated else ():
        if isinstance(extra, Meta) and extra.description:
            return extra.description
    return ""


def _checked(schema: dict[str, Any], path: Where, value: Value) -> Any:
    node: Any = schema
    for depth, name in enumerate(path):
        if not isinstance(node, dict) or name not in node:
            _refuse_name(path[: depth + 1], node, value.source)
        node = node[name]
    dotted = ".".join(path)
    if isinstance(node, dict):
        if value.raw == {}:
            return {}
        # What was given is not repeated: there may be secrets in it.
        raise SettingsError(f"{dotted}: this is a table, with {_named(node)}; set what is in it (from {value.source})")
    try:
        if (
            value.text
            and not _may_be(str, node.type)
            and not _may_be(Secret, node.type)
            and value.raw[:1] in ("[", "{")
        ):
            # A setting that may be a text can begin with any character: an IPv6 address, say.
            return msgspec.json.decode(value.raw, type=node.type, dec_hook=as_secret)
        return msgspec.convert(value.raw, node.type, strict=not value.text, dec_hook=as_secret)
    except msgspec.MsgspecError as error:
        shown = HIDDEN if _may_hide(node.type) else repr(value.raw)
        hint = """; a list is written as JSON: '["a", "b"]'""" if "`array`" in str(error) and value.text else ""
        raise SettingsError(f"{dotted}: {error}; got {shown} (from {value.source}){hint}") from None


def _may_be(wanted: type, type_: Any) -> bool:
    options = get_args(type_) if get_origin(type_) in (Annotated, Union, UnionType) else ()
    return type_ is wanted or any(_may_be(wanted, option) for option in options)


def _may_hide(type_: Any) -> bool:
    """Tell whether there may be a secret in a value: one by itself, or one in a table."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct | Secret):
        return True
    return any(map(_may_hide, get_args(type_)))


def _hidden(value: Any) -> str:
    return str(value)


def _refuse_name(path: Where, node: Any, source: str) -> None:
    names = node if isinstance(node, dict) else {}
    close = difflib.get_close_matches(path[-1], names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there is {_named(names)}"
    raise SettingsError(f"{'.'.join(path)}: there is no such setting; {hint} (from {source})")


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing below it"


# --- the layers -------------------------------------------------------------------------------------------------------


def _profile_values(chosen: Value | None) -> dict[Where, Value]:
    name = DEFAULT_PROFILE if chosen is None else chosen.raw
    if name not in PROFILES:
        source = chosen.source if chosen else "default"
        raise SettingsError(f"profile: there is no profile {name!r}; there is {', '.join(PROFILES)} (from {source})")
    text = resources.files("kvcore.profiles").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return _toml_values(text, f"profile {name}")


def _file_values(file: Path | None, environment: Mapping[str, str]) -> dict[Where, Value]:
    if file is None and CONFIG_VARIABLE in environment:
        file = Path(environment[CONFIG_VARIABLE])
    if file is None:
        file = Path(DEFAULT_FILE)
        if not file.exists():
            return {}
    try:
        return _toml_values(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the configuration file {file} cannot be read: {error}") from None


def _toml_values(text: str, source: str) -> dict[Where, Value]:
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{source} is not valid TOML: {error}") from None
    return {path: Value(raw, source) for path, raw in _leaves((), tree)}


def _leaves(path: Where, tree: Mapping[str, Any]) -> Iterator[tuple[Where, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves((*path, name), value)
        else:
            yield (*path, name), value


def _environment_values(environment: Mapping[str, str]) -> dict[Where, Value]:
    return {
        tuple(name.removeprefix(PREFIX).lower().split("__")): Value(text, f"environment variable {name}", text=True)
        for name, text in environment.items()
        if name.startswith(PREFIX) and name not in (CONFIG_VARIABLE, URL_VARIABLE, TOKEN_VARIABLE)
    }


def _flag_values(flags: Mapping[str, str]) -> dict[Where, Value]:
    return {tuple(path.split(".")): Value(text, f"flag for {path}", text=True) for path, text in flags.items()}


def _put(tree: dict[str, Any], path: Where, value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


# --- the result -------------------------------------------------------------------------------------------------------


def _build(plugins: Plugins, tree: dict[str, Any], sources: dict[str, str]) -> Resolved:
    backends: dict[Kind, msgspec.Struct] = {}
    for kind in KINDS:
        table = tree[kind]
        name = table["backend"]
        if kind == "queue" and name == NO_QUEUE:
            continue
        factory = plugins.choose(kind, name)
        try:
            backends[kind] = msgspec.convert(table.get(name, {}), factory.settings, dec_hook=as_secret)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{kind}.{name}: {error}; set it, the backend cannot do without") from None
    authentication = _authentication(plugins, tree.get("auth", {}))
    tracing = _tracing(plugins, tree.get("tracing", {}))
    core = {
        name: {inner: value for inner, value in table.items() if not isinstance(value, dict)}
        if isinstance(table, dict)
        else table
        for name, table in tree.items()
    }
    return Resolved(msgspec.convert(core, Settings, dec_hook=as_secret), backends, sources, authentication, tracing)


def _authentication(plugins: Plugins, table: dict[str, Any]) -> msgspec.Struct | None:
    """Return the settings of the way to authenticate that a plugin gives, where one is chosen."""
    mode = table.get("mode")
    if mode in (None, OPEN, OWN_TOKENS):
        return None
    if table.get("tokens") or table.get("file"):
        raise SettingsError(f"auth.mode = {mode!r}: auth.tokens and auth.file would not be asked; remove them")
    try:
        settings: msgspec.Struct = msgspec.convert(
            table.get(mode, {}), plugins.authentication(mode).settings, dec_hook=as_secret
        )
    except msgspec.ValidationError as error:
        raise SettingsError(f"auth.{mode}: {error}; set it, nobody can be told from another without") from None
    return settings


def _tracing(plugins: Plugins, table: dict[str, Any]) -> msgspec.Struct | None:
    """Return the settings of the way to export spans that a plugin gives, where one is chosen."""
    exporter = table.get("exporter")
    if exporter is None:
        return None
    try:
        settings: msgspec.Struct = msgspec.convert(
            table.get(exporter, {}), plugins.tracing(exporter).settings, dec_hook=as_secret
        )
    except msgspec.ValidationError as error:
        raise SettingsError(f"tracing.{exporter}: {error}; set it, spans have nowhere to go without") from None
    return settings


def _check_networks(resolved: Resolved) -> None:
    for text in resolved.settings.http.trusted_proxies:
        try:
            ip_network(text)
        except ValueError as error:
            source = resolved.sources.get("http.trusted_proxies", "default")
            raise SettingsError(f"http.trusted_proxies: {error}; give addresses and networks (from {source})") from None


def _refuse_combinations(plugins: Plugins, resolved: Resolved) -> None:
    settings = resolved.settings
    cache = plugins.choose("cache", settings.cache.backend).abilities
    store = plugins.choose("store", settings.store.backend).abilities
    has_queue = settings.queue.backend != NO_QUEUE
    queue = plugins.choose("queue", settings.queue.backend).abilities if has_queue else frozenset[Ability]()

    def refuse(why: str, *paths: str) -> None:
        values = resolved.flat()
        named = ", ".join(f"{path} = {values[path]!r} ({resolved.sources.get(path, 'default')})" for path in paths)
        raise SettingsError(f"these settings do not go together: {named}: {why}")

    if Ability.SHARED in store and Ability.SHARED not in cache:
        refuse("several nodes can use this store, and each would have a cache of its own that misses the others' writes",
               "cache.backend", "store.backend")  # fmt: skip
    if has_queue and Ability.DURABLE in queue and Ability.DURABLE not in store:
        refuse("the queue keeps what it accepted only until the store has it, and this store forgets",
               "queue.backend", "store.backend")  # fmt: skip
    if has_queue and not settings.worker.in_node and Ability.SHARED not in queue & cache & store:
        refuse("a worker in another process would not see the same data; the node must run the worker itself",
               "queue.backend", "cache.backend", "store.backend", "worker.in_node")  # fmt: skip
    if settings.http.processes > 1 and Ability.SHARED not in cache & store & (queue if has_queue else cache):
        refuse("each process would have data of its own", "http.processes", "cache.backend", "queue.backend",
               "store.backend")  # fmt: skip
    if settings.worker.in_node and not has_queue:
        refuse("without a queue there is nothing for a worker to do", "queue.backend", "worker.in_node")
    for caller in ("token", "address"):
        rate, burst = f"limits.{caller}_rate_per_s", f"limits.{caller}_burst"
        if resolved.flat()[rate] is None and resolved.flat()[burst] is not None:
            refuse("without a rate any number of requests may come, at once and later", burst, rate)
    if settings.store.tombstone_retention_s < settings.cache.pending_ttl_s:
        refuse("deletes must be remembered for as long as an accepted entry may wait in the cache",
               "store.tombstone_retention_s", "cache.pending_ttl_s")  # fmt: skip
