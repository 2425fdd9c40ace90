"""Each value by itself: that there is such a setting, that the value is of its type, and the file that a secret is read from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec

from kvcore.config._layers import Value
from kvcore.config._schema import Where, may_be, secret_of
from kvcore.errors import SettingsError
from kvcore.secret import HIDDEN, Secret, as_secret

__all__ = ("checked",)


def checked(schema: dict[str, Any], values: Mapping[Where, Value]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values as what their settings need, as a tree of tables; and by path where each came from.

    Raises:
        SettingsError: with the path and the source of what is wrong.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for given, value in values.items():
        path, content, source = given, _converted(schema, given, value), value.source
        secret = secret_of(schema, given)
        if secret is not None:
            if secret in values:
                raise SettingsError(
                    f"{'.'.join(secret)}: this and {given[-1]} are both set; set one of them"
                    f" (from {values[secret].source} and {source})"
                )
            path, content, source = secret, _read_secret(".".join(given), content, source), f"{content}, by {source}"
        if content != {}:
            _put(tree, path, content)
        sources[".".join(path)] = source
    return tree, sources


def _converted(schema: dict[str, Any], path: Where, value: Value) -> Any:
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
        if value.text and not may_be(str, node.type) and not may_be(Secret, node.type) and value.raw[:1] in ("[", "{"):
            # A setting that may be a text can begin with any character: an IPv6 address, say.
            return msgspec.json.decode(value.raw, type=node.type, dec_hook=as_secret)
        return msgspec.convert(value.raw, node.type, strict=not value.text, dec_hook=as_secret)
    except msgspec.MsgspecError as error:
        shown = HIDDEN if _may_hide(node.type) else repr(value.raw)
        hint = """; a list is written as JSON: '["a", "b"]'""" if "`array`" in str(error) and value.text else ""
        raise SettingsError(f"{dotted}: {error}; got {shown} (from {value.source}){hint}") from None


def _may_hide(type_: Any) -> bool:
    """Tell whether there may be a secret in a value: one by itself, or one in a table."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct | Secret):
        return True
    return any(map(_may_hide, get_args(type_)))


def _read_secret(path: str, file: str, source: str) -> Secret:
    """Read a secret: all that the file holds, but for a line's end at the end."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: the file {file!r} cannot be read: {error} (from {source})") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _refuse_name(path: Where, node: Any, source: str) -> NoReturn:
    names = node if isinstance(node, dict) else {}
    close = difflib.get_close_matches(path[-1], names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there is {_named(names)}"
    raise SettingsError(f"{'.'.join(path)}: there is no such setting; {hint} (from {source})")


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing below it"


def _put(tree: dict[str, Any], path: Where, value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
