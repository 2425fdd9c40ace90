"""`kvctl config`: what is set, whether it can work, and a file to start from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._output import AsJson, show
from kvcore.cli._settings import ConfigFile, Overrides, Profile, read
from kvcore.errors import SettingsError

if TYPE_CHECKING:
    from kvcore.config import Resolved
    from kvcore.plugins import Plugins

__all__ = ("app",)

app = typer.Typer(
    name="config",
    help="Show, check and write the configuration.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("show")
def show_settings(
    profile: Profile = None, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Print every setting in force, as TOML, and where each value comes from.

    \b
    kvctl config show
    kvctl config show --profile production --json | jq '."http.port"'
    """
    from kvcore.cli._toml import literal

    resolved, _ = read(profile, config, overrides)
    found = {
        path: {"value": value, "source": resolved.sources.get(path, "default")}
        for path, value in resolved.flat().items()
    }
    lines = (
        f"# {path} is not set" if value is None else f"{path} = {literal(value)}  # {found[path]['source']}"
        for path, value in resolved.flat().items()
    )
    show(found, "\n".join(lines), as_json=as_json)


@app.command()
def check(
    profile: Profile = None, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Check the configuration without starting anything: settings, tokens, and what they are checked by.

    Exit code 1: it cannot work; the message names path and source.

    \b
    kvctl config check --config /etc/kvcore.toml
    """
    from kvcore.authentication import refuse_exposure

    resolved, plugins = read(profile, config, overrides)
    refuse_exposure(resolved)
    asyncio.run(_try_authenticator(resolved, plugins))
    settings = resolved.settings
    tiers = {"cache": settings.cache.backend, "queue": settings.queue.backend, "store": settings.store.backend}
    named = ", ".join(f"{kind} {name}" for kind, name in tiers.items())
    show({"valid": True, "profile": settings.profile, **tiers}, f"valid: profile {settings.profile}, {named}",
         as_json=as_json)  # fmt: skip


async def _try_authenticator(resolved: Resolved, plugins: Plugins) -> None:
    from kvcore.authentication import open_authenticator

    async with open_authenticator(resolved, plugins, failed=lambda: None):
        pass


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write.")] = Path("kvcore.toml"),
    profile: Annotated[str, typer.Option(help="Whose values to show: memory, embedded or production.")] = "embedded",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a TOML file with every setting, described and commented out at its default.

    \b
    kvctl config init
    kvctl config init /etc/kvcore.toml --profile production
    """
    from kvcore.cli._toml import template
    from kvcore.plugins import load_plugins

    text = template(load_plugins(), profile)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise SettingsError(f"{file} exists already; replace it with --force, or name another file") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from None
    show({"file": str(file), "profile": profile}, str(file), as_json=as_json)
