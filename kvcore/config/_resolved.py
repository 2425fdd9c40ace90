"""The result: the core's settings, and those of what is chosen among the plugins."""

from __future__ import annotations

from typing import Any

import msgspec

from kvcore.backends import Kind
from kvcore.config._layers import leaves
from kvcore.config._schema import Where
from kvcore.errors import SettingsError
from kvcore.plugins import KINDS, Plugins
from kvcore.secret import as_secret
from kvcore.settings import NO_QUEUE, OPEN, OWN_TOKENS, AuthSettings, Settings

__all__ = ("Resolved", "build")

Tree = dict[str, Any]


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
            found |= leaves(path, msgspec.to_builtins(table, enc_hook=str))
        return {".".join(path): value for path, value in found.items()}


def build(plugins: Plugins, tree: Tree, sources: dict[str, str]) -> Resolved:
    """Make the result of values that were checked.

    Raises:
        SettingsError: a setting that has no default is not set, or one that is would have no effect.
        PluginError: what is chosen is not there.
    """
    settings = msgspec.convert(_of_core(tree), Settings, dec_hook=as_secret)
    return Resolved(
        settings,
        _backends(plugins, tree, settings),
        sources,
        _authentication(plugins, tree, settings.auth),
        _tracing(plugins, tree, settings.tracing.exporter),
    )


def _of_core(tree: Tree) -> Tree:
    return {
        name: {inner: value for inner, value in table.items() if not isinstance(value, dict)}
        if isinstance(table, dict)
        else table
        for name, table in tree.items()
    }


def _backends(plugins: Plugins, tree: Tree, settings: Settings) -> dict[Kind, msgspec.Struct]:
    chosen: dict[Kind, str] = {kind: getattr(settings, kind).backend for kind in KINDS}
    return {
        kind: _own(tree, kind, name, plugins.choose(kind, name).settings, "the backend cannot do without")
        for kind, name in chosen.items()
        if not (kind == "queue" and name == NO_QUEUE)
    }


def _authentication(plugins: Plugins, tree: Tree, auth: AuthSettings) -> msgspec.Struct | None:
    """Return the settings of the way to authenticate that a plugin gives, where one is chosen."""
    if auth.mode is None or auth.mode in (OPEN, OWN_TOKENS):
        return None
    if auth.tokens or auth.file:
        raise SettingsError(f"auth.mode = {auth.mode!r}: auth.tokens and auth.file would not be asked; remove them")
    struct = plugins.authentication(auth.mode).settings
    return _own(tree, "auth", auth.mode, struct, "nobody can be told from another without")


def _tracing(plugins: Plugins, tree: Tree, exporter: str | None) -> msgspec.Struct | None:
    """Return the settings of the way to export spans that a plugin gives, where one is chosen."""
    if exporter is None:
        return None
    return _own(tree, "tracing", exporter, plugins.tracing(exporter).settings, "spans have nowhere to go without")


def _own(tree: Tree, table: str, name: str, struct: type[msgspec.Struct], why: str) -> msgspec.Struct:
    """Return the settings that a plugin's own table gives; `why` what it needs has to be set."""
    try:
        return msgspec.convert(tree.get(table, {}).get(name, {}), struct, dec_hook=as_secret)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{table}.{name}: {error}; set it, {why}") from None
