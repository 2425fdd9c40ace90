"""What is given: the values of profile, file, environment and flags, and which of them wins. Nothing is checked yet."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from kvcore.config._schema import Where
from kvcore.environment import CONFIG_VARIABLE, NOT_SETTINGS, SETTING_PREFIX
from kvcore.errors import SettingsError
from kvcore.settings import DEFAULT_PROFILE, PROFILES

__all__ = ("Value", "leaves", "merged")

DEFAULT_FILE: Final = "kvcore.toml"


class Value(msgspec.Struct, frozen=True):
    """A value as a layer gives it; `text` when it comes from where there is only text."""

    raw: Any
    source: str
    text: bool = False


def merged(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]) -> dict[Where, Value]:
    """Return what the highest layer that says something about a setting says; `file` None: see `resolve`.

    Raises:
        SettingsError: the file cannot be read or is not TOML, or there is no such profile.
    """
    layers = [_file_values(file, environment), _environment_values(environment), _flag_values(flags)]
    profile = next((layer[("profile",)] for layer in reversed(layers) if ("profile",) in layer), None)
    values: dict[Where, Value] = {}
    for layer in (_profile_values(profile), *layers):
        values |= layer
    return values


def leaves(path: Where, tree: Mapping[str, Any]) -> Iterator[tuple[Where, Any]]:
    """Give what stands in a tree below a path, each with its own; a table with nothing in it is given as it is."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves((*path, name), value)
        else:
            yield (*path, name), value


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
    return {path: Value(raw, source) for path, raw in leaves((), tree)}


def _environment_values(environment: Mapping[str, str]) -> dict[Where, Value]:
    return {
        tuple(name.removeprefix(SETTING_PREFIX).lower().split("__")): Value(
            text, f"environment variable {name}", text=True
        )
        for name, text in environment.items()
        if name.startswith(SETTING_PREFIX) and name not in NOT_SETTINGS
    }


def _flag_values(flags: Mapping[str, str]) -> dict[Where, Value]:
    return {tuple(path.split(".")): Value(text, f"flag for {path}", text=True) for path, text in flags.items()}
