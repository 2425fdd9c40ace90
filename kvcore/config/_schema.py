"""What there is to set: a tree of tables, the core's and the plugins', whose leaves are msgspec's fields."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from kvcore.errors import PluginError
from kvcore.plugins import KINDS, Plugins
from kvcore.secret import Secret
from kvcore.settings import OPEN, OWN_TOKENS, Settings

__all__ = ("Setting", "Where", "describe", "may_be", "schema_of", "secret_of")

Where = tuple[str, ...]
"""The names on the way to a setting: its path, where it is not text."""
_FILE: Final = "_file"


class Setting(msgspec.Struct, frozen=True):
    """One setting, for documents and listings. `default` is `msgspec.NODEFAULT` where it must be given."""

    path: str
    type: Any
    default: Any
    description: str


def describe(plugins: Plugins) -> list[Setting]:
    """Return every setting that there is, in the order of the documentation."""
    found: list[Setting] = []

    def walk(path: Where, node: Any) -> None:
        if isinstance(node, dict):
            for name, inner in node.items():
                walk((*path, name), inner)
        else:
            found.append(Setting(".".join(path), node.type, node.default, _description(node.type)))

    walk((), schema_of(plugins))
    return found


def schema_of(plugins: Plugins) -> dict[str, Any]:
    """Return the tree: by name a table, which is such a tree again, or a field.

    Raises:
        PluginError: a plugin gives something the name of a setting.
    """
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


def secret_of(schema: dict[str, Any], path: Where) -> Where | None:
    """Return the path of the secret whose file a setting of the schema names; None: it names none."""
    node: Any = schema
    for name in path[:-1]:
        node = node[name]
    secret = path[-1].removesuffix(_FILE)
    twin = node.get(secret) if secret != path[-1] else None
    return (*path[:-1], secret) if isinstance(twin, msgspec.structs.FieldInfo) and may_be(Secret, twin.type) else None


def may_be(wanted: type, type_: Any) -> bool:
    """Tell whether a type is the wanted one, or allows it among others."""
    options = get_args(type_) if get_origin(type_) in (Annotated, Union, UnionType) else ()
    return type_ is wanted or any(may_be(wanted, option) for option in options)


def _table(struct: type[msgspec.Struct]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        table[field.name] = (
            _table(field.type) if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else field
        )
        if may_be(Secret, field.type):
            name = field.name + _FILE
            described = Annotated[
                str | None, Meta(description=f"File that holds `{field.name}`, which is not set then.")
            ]
            table[name] = msgspec.structs.FieldInfo(name, name, described, default=None)
    return table


def _description(type_: Any) -> str:
    for extra in get_args(type_)[1:] if get_origin(type_) is Annotated else ():
        if isinstance(extra, Meta) and extra.description:
            return extra.description
    return ""
