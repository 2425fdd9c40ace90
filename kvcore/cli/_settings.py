"""The options that settings come from, and how commands read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.environment import CONFIG_VARIABLE

if TYPE_CHECKING:
    from kvcore.config import Resolved
    from kvcore.plugins import Plugins

__all__ = ("ConfigFile", "Overrides", "Profile", "read")

Profile = Annotated[
    str | None, typer.Option("--profile", help="What to start from: memory, embedded (the default) or production.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"TOML file with settings. Default: the one that {CONFIG_VARIABLE} names, or kvcore.toml in the current folder.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Set one setting, over file and environment. May be repeated. Example: --set cache.ttl_s=60",
    ),
]


def read(
    profile: str | None, config: Path | None, overrides: Iterable[str] | None, options: Mapping[str, object] = {}
) -> tuple[Resolved, Plugins]:
    """Load the plugins and put the settings together.

    `options` are those of the command line that have names of their own.

    Raises:
        SettingsError: with the path and the source of what is wrong.
        PluginError: a backend that is chosen is not there.
    """
    from kvcore.config import resolve
    from kvcore.plugins import load_plugins

    flags = dict(map(_pair, overrides or ()))
    flags |= {path: str(value) for path, value in {"profile": profile, **options}.items() if value is not None}
    plugins = load_plugins()
    return resolve(plugins, file=config, flags=flags), plugins


def _pair(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not PATH=VALUE, such as http.port=9000", param_hint="--set")
    return path, value
