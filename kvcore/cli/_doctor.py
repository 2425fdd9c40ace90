"""`kvctl doctor` and `kvctl store migrate`: what operators do to the servers behind kvcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kvcore.cli._output import AsJson, ExitCode, note, show
from kvcore.cli._settings import ConfigFile, Overrides, Profile, read

if TYPE_CHECKING:
    from kvcore.backends import Finding
    from kvcore.doctor import Examined

__all__ = ("doctor", "store")

store = typer.Typer(name="store", help="Look after the store's servers.", no_args_is_help=True, rich_markup_mode=None)


def doctor(
    profile: Profile = None, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Connect to the servers of each tier, and say what is wrong, how that is known, and what to do.

    Reads the same settings as `serve`, changes no data, and needs no running node. Exit code 1: there is an error.

    \b
    kvctl doctor --profile production
    kvctl doctor --config /etc/kvcore.toml --json | jq '.[].findings[] | select(.level != "ok")'
    """
    import asyncio

    from kvcore.doctor import examine

    resolved, plugins = read(profile, config, overrides)
    note("looking at the servers of each tier")
    examined = asyncio.run(examine(resolved, plugins))
    show(examined, "\n".join(map(_text, examined)), as_json=as_json)
    errors = sum(finding.level == "error" for part in examined for finding in part.findings)
    if errors:
        note(f"{errors} {'error' if errors == 1 else 'errors'} found")
        raise typer.Exit(ExitCode.FAILED)


def _text(part: Examined) -> str:
    title = "this machine" if part.tier is None else f"{part.tier} ({part.backend})"
    return "\n".join([title, *(line for finding in part.findings for line in _lines(finding))])


def _lines(finding: Finding) -> list[str]:
    found = [f"  {finding.level:8} {finding.about}: {finding.what}"]
    found += [f"           how we know: {finding.evidence}"] if finding.evidence else []
    found += [f"           what to do:  {finding.remedy}"] if finding.remedy else []
    return found


@store.command()
def migrate(
    profile: Profile = None, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Bring the store's schema up to date: before the first start, and after each update of kvcore.

    Running nodes go on meanwhile. Several may run at once. Does nothing where nothing is to be done.

    \b
    kvctl store migrate --profile production
    """
    import asyncio

    resolved, plugins = read(profile, config, overrides)
    name = resolved.settings.store.backend
    migrate = plugins.choose("store", name).migrate
    if migrate is None:
        text = f"the store {name!r} looks after its schema itself; there is nothing to do"
        show({"store": name, "applied": []}, text, as_json=as_json)
        return
    applied = list(asyncio.run(migrate(resolved.backends["store"])))
    text = "\n".join(f"applied {one}" for one in applied) or "the schema is up to date"
    show({"store": name, "applied": applied}, text, as_json=as_json)
