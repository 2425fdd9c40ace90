"""Settings as TOML: single values, and the commented file that `kvctl config init` writes."""

from __future__ import annotations

import json
import textwrap
import tomllib
from importlib import resources
from typing import Any

import msgspec

from kvcore.config import Setting, describe
from kvcore.errors import SettingsError
from kvcore.plugins import Plugins
from kvcore.secret import Secret
from kvcore.settings import PROFILES

__all__ = ("literal", "template")

_HEAD = """\
# Settings of kvcore. Every line that is commented out shows what is in force without it.
# The environment overrides this file (KVCORE_HTTP__PORT is http.port), and flags override both.
# `kvctl config check` tells whether it can work, `kvctl config show` what is in force and why.

"""


def literal(value: Any) -> str:
    """Return a value in TOML, which has no notation for None."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        given = (f"{json.dumps(key)} = {literal(item)}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(given) + "}"
    # JSON's notation of text, numbers and booleans is TOML's, except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def template(plugins: Plugins, profile: str) -> str:
    """Return a TOML file with every setting of kvcore and of the installed plugins, as a profile has it.

    Raises:
        SettingsError: there is no such profile.
    """
    if profile not in PROFILES:
        raise SettingsError(f"there is no profile {profile!r}; there is {', '.join(PROFILES)}")
    given = tomllib.loads(resources.files("kvcore.profiles").joinpath(f"{profile}.toml").read_text(encoding="utf-8"))
    lines = [_HEAD]
    table = ""
    for setting in describe(plugins):
        head, _, name = setting.path.rpartition(".")
        if head != table:
            table = head
            lines.append(f"\n[{table}]\n")
        value = profile if setting.path == "profile" else given.get(table, {}).get(name, setting.default)
        lines.append(_entry(setting, name, value, commented=setting.path != "profile"))
    return "".join(lines)


def _entry(setting: Setting, name: str, value: Any, *, commented: bool) -> str:
    described = textwrap.wrap(setting.description, 110, initial_indent="# ", subsequent_indent="# ")
    if value is msgspec.NODEFAULT or value is None:
        described.append(f"# {name} has no default.")
    elif isinstance(value, Secret):
        described.append(f"# {name} has a default that is not shown.")
    else:
        described.append(f"{'# ' if commented else ''}{name} = {literal(msgspec.to_builtins(value))}")
    return "\n".join(described) + "\n"
