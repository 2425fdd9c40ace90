"""Finding plugins and choosing among what they give.

Plugins are loaded one by one: a broken one is reported by name and stops only those who need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

import msgspec
import pluggy

from kvcore import hookspecs
from kvcore.access import Authentication
from kvcore.backends import Factory, Kind
from kvcore.errors import PluginError
from kvcore.tracing import Tracing

__all__ = ("GROUP", "Broken", "GivenBackend", "LoadedPlugin", "Plugins", "load_plugins")

GROUP = "kvcore.plugins"
KINDS: tuple[Kind, ...] = get_args(Kind)


class Broken(msgspec.Struct, frozen=True):
    """A plugin that could not be loaded, and why."""

    name: str
    distribution: str
    reason: str


class GivenBackend(msgspec.Struct, frozen=True):
    """A backend that a plugin gives, and what it can do."""

    kind: Kind
    name: str
    abilities: list[str]


class LoadedPlugin(msgspec.Struct, frozen=True):
    """A plugin that was loaded: its backends, and the names of all hooks that it implements."""

    name: str
    distribution: str
    backends: list[GivenBackend]
    hooks: list[str]


class Plugins:
    """The plugins that were loaded, those that could not be, and what the former gave.

    `factories` are by kind and name, `authentications` and `tracings` by name.
    """

    def __init__(self, manager: pluggy.PluginManager, loaded: dict[str, str], broken: Iterable[Broken] = ()) -> None:
        self.hook = manager.hook
        self.loaded = loaded  # name of the entry point -> distribution and version
        self.broken = tuple(broken)
        self.factories: dict[Kind, dict[str, Factory[Any]]] = {
            "cache": _by_name("cache backend", manager.hook.kvcore_caches),
            "queue": _by_name("queue backend", manager.hook.kvcore_queues),
            "store": _by_name("store backend", manager.hook.kvcore_stores),
        }
        self.authentications: dict[str, Authentication] = _by_name(
            "way to authenticate", manager.hook.kvcore_authenticate
        )
        self.tracings: dict[str, Tracing] = _by_name("way to export spans", manager.hook.kvcore_tracers)

    def choose(self, kind: Kind, name: str) -> Factory[Any]:
        """Return the factory of a name.

        Raises:
            PluginError: no plugin gives it; the message lists what there is, and which plugins are broken.
        """
        try:
            return self.factories[kind][name]
        except KeyError:
            there = ", ".join(sorted(self.factories[kind])) or "none"
            message = (
                f"there is no {kind} backend {name!r}; installed: {there};"
                f" choose one of these, or install the plugin that gives it, by convention kvcore-{kind}-{name}"
            )
            raise PluginError(message + self._not_loaded()) from None

    def authentication(self, name: str) -> Authentication:
        """Return the way to authenticate of a name.

        Raises:
            PluginError: no plugin gives it; the message lists what there is, and which plugins are broken.
        """
        try:
            return self.authentications[name]
        except KeyError:
            there = ", ".join(("none", "tokens", *sorted(self.authentications)))
            message = (
                f"auth.mode = {name!r}: there is no such way to authenticate; there is {there};"
                f" choose one of these, or install the plugin that gives it, by convention kvcore-auth-{name}"
            )
            raise PluginError(message + self._not_loaded()) from None

    def tracing(self, name: str) -> Tracing:
        """Return the way to export spans of a name.

        Raises:
            PluginError: no plugin gives it; the message lists what there is, and which plugins are broken.
        """
        try:
            return self.tracings[name]
        except KeyError:
            there = ", ".join(sorted(self.tracings)) or "none"
            message = (
                f"tracing.exporter = {name!r}: there is no such way to export spans; installed: {there};"
                f" choose one of these, or install the plugin that gives it, by convention kvcore-tracing-{name}"
            )
            raise PluginError(message + self._not_loaded()) from None

    def _not_loaded(self) -> str:
        return "".join(
            f". The plugin {broken.name!r} ({broken.distribution}) could not be loaded: {broken.reason}"
            for broken in self.broken
        )

    def listing(self) -> list[LoadedPlugin]:
        """Return each plugin that was loaded, with what it gives."""
        hooks = {name: caller for name, caller in vars(self.hook).items() if name.startswith("kvcore_")}
        implementers = {
            name: {implementation.plugin_name: implementation for implementation in caller.get_hookimpls()}
            for name, caller in hooks.items()
        }
        return [
            LoadedPlugin(
                plugin,
                distribution,
                [
                    GivenBackend(kind, factory.name, sorted(factory.abilities))
                    for kind in KINDS
                    if plugin in implementers[f"kvcore_{kind}s"]
                    for factory in implementers[f"kvcore_{kind}s"][plugin].function()
                ],
                sorted(name for name, given in implementers.items() if plugin in given),
            )
            for plugin, distribution in sorted(self.loaded.items())
        ]

    def given(self, hook: str) -> list[Any]:
        """Call a hook, and return what each plugin gives that gives anything.

        Raises:
            PluginError: a plugin fails; the message names it.
        """
        answers = map(_given, getattr(self.hook, hook).get_hookimpls())
        return [answer for answer in answers if answer is not None]


def load_plugins(points: Iterable[EntryPoint] | None = None, *, extra: Iterable[tuple[str, object]] = ()) -> Plugins:
    """Load the installed plugins, and `extra` ones given by name and object (for tests and embedding).

    Raises:
        PluginError: a plugin implements a hook that does not exist, or two plugins give one name.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded: dict[str, str] = {}
    broken: list[Broken] = []
    for point in sorted(entry_points(group=GROUP) if points is None else points, key=lambda point: point.name):
        where = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            manager.register(point.load(), name=point.name)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises while it is imported
            broken.append(Broken(point.name, where, f"{type(error).__name__}: {error}"))
        else:
            loaded[point.name] = where
    for name, plugin in extra:
        manager.register(plugin, name=name)
        loaded[name] = "given by the caller"
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a plugin implements a hook that kvcore does not have: {error}") from error
    return Plugins(manager, loaded, broken)


def _by_name(what: str, hook: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    plugins: dict[str, str] = {}
    for implementation in hook.get_hookimpls():
        plugin = implementation.plugin_name
        for given in _given(implementation) or ():
            if given.name in found:
                rivals = f"{plugins[given.name]!r} and {plugin!r}"
                raise PluginError(f"two plugins give a {what} {given.name!r}: {rivals}; remove one of them")
            found[given.name], plugins[given.name] = given, plugin
    return found


def _given(implementation: pluggy.HookImpl) -> Any:
    try:
        given: Any = implementation.function()
        # A generator fails only when it is run, so it is run here.
        return given if given is None or callable(given) else list(given)
    except Exception as error:
        raise PluginError(
            f"the plugin {implementation.plugin_name!r} failed: {type(error).__name__}: {error}"
        ) from error
