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
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from kvcore.backends import MAX_KEY_BYTES, Ability, Kind
from kvcore.errors import SettingsError
from kvcore.plugins import KINDS, Plugins
from kvcore.secret import HIDDEN, Secret

__all__ = (
    "CONFIG_VARIABLE",
    "NO_QUEUE",
    "PROFILES",
    "CacheSettings",
    "ClockSettings",
    "HttpSettings",
    "LimitSettings",
    "QueueSettings",
    "Resolved",
    "Setting",
    "Settings",
    "StoreSettings",
    "TierSettings",
    "WorkerSettings",
    "describe",
    "resolve",
)

PREFIX: Final = "KVCORE_"
CONFIG_VARIABLE: Final = "KVCORE_CONFIG"
URL_VARIABLE: Final = "KVCORE_URL"
"""Not a setting of a node: where `kvctl` finds one."""
DEFAULT_FILE: Final = "kvcore.toml"
DEFAULT_PROFILE: Final = "embedded"
PROFILES: Final = ("memory", "embedded", "production")
NO_QUEUE: Final = "none"
_FILE: Final = "_file"

_LONGEST_S: Final = 100 * 366 * 86_400.0
"""A hundred years. What is longer, infinity above all, overflows where times are counted in whole milliseconds."""
Seconds = Annotated[float, Meta(gt=0, le=_LONGEST_S)]
Count = Annotated[int, Meta(ge=1)]


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
    write_deadline_s: Annotated[
        Seconds, Meta(description="After this time a write that has no answer yet is answered 503, outcome unknown.")
    ] = 2.0
    read_deadline_s: Annotated[
        Seconds,
        Meta(
            description="After this time a read that has no answer yet, and does not wait for a version, is answered 503."
        ),
    ] = 2.0


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP server of a node."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8000
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


class TierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is common to the three tiers."""

    backend: Annotated[str, Meta(min_length=1, description="Name of the backend; `kvctl plugins` lists them.")]
    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call.")] = 0.8
    failures: Annotated[Count, Meta(description="Failed calls in a row after which the circuit breaker opens.")] = 3
    recovery_s: Annotated[
        Seconds, Meta(description="How long an open circuit breaker waits before it lets one call try again.")
    ] = 0.5
    in_flight: Annotated[Count, Meta(description="Bulk calls of one operation under way at once.")] = 2
    batch: Annotated[Count, Meta(description="Most items in one bulk call.")] = 256
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


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of the core. Those of a backend stand in a table of its own, `[<kind>.<name>]`."""

    profile: Annotated[str, Meta(description=f"What to start from: {', '.join(PROFILES)}.")] = DEFAULT_PROFILE
    clock: ClockSettings = ClockSettings()
    limits: LimitSettings = LimitSettings()
    http: HttpSettings = HttpSettings()
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
    """Settings that were checked, the chosen backends' own settings by kind, and where each value came from."""

    settings: Settings
    backends: dict[Kind, msgspec.Struct]
    sources: dict[str, str]

    def flat(self) -> dict[str, Any]:
        """Return every setting in force by its path, those of the chosen backends included; secrets are hidden."""
        found = dict(_leaves((), msgspec.to_builtins(self.settings)))
        for kind, own in self.backends.items():
            visible = msgspec.to_builtins(own, enc_hook=_hidden)
            found |= dict(_leaves((kind, getattr(self.settings, kind).backend), visible))
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
            return msgspec.json.decode(value.raw, type=node.type)
        return msgspec.convert(value.raw, node.type, strict=not value.text, dec_hook=_wrapped)
    except msgspec.MsgspecError as error:
        shown = HIDDEN if _may_be(Secret, node.type) else repr(value.raw)
        hint = """; a list is written as JSON: '["a", "b"]'""" if "`array`" in str(error) and value.text else ""
        raise SettingsError(f"{dotted}: {error}; got {shown} (from {value.source}){hint}") from None


def _may_be(wanted: type, type_: Any) -> bool:
    options = get_args(type_) if get_origin(type_) in (Annotated, Union, UnionType) else ()
    return type_ is wanted or any(_may_be(wanted, option) for option in options)


def _wrapped(type_: type, value: Any) -> Any:
    """Make a secret of a text, for msgspec, which does not know the type."""
    if type_ is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise msgspec.ValidationError("Expected `str`")


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
        if name.startswith(PREFIX) and name not in (CONFIG_VARIABLE, URL_VARIABLE)
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
            backends[kind] = msgspec.convert(table.get(name, {}), factory.settings, dec_hook=_wrapped)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{kind}.{name}: {error}; set it, the backend cannot do without") from None
    core = {
        name: {inner: value for inner, value in table.items() if not isinstance(value, dict)}
        if isinstance(table, dict)
        else table
        for name, table in tree.items()
    }
    return Resolved(msgspec.convert(core, Settings), backends, sources)


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
    if settings.worker.in_node and not has_queue:
        refuse("without a queue there is nothing for a worker to do", "queue.backend", "worker.in_node")
    if settings.store.tombstone_retention_s < settings.cache.pending_ttl_s:
        refuse("deletes must be remembered for as long as an accepted entry may wait in the cache",
               "store.tombstone_retention_s", "cache.pending_ttl_s")  # fmt: skip
