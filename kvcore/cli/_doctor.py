"""`kvctl doctor` and `kvctl store migrate`: what operators do to kvcore and to the servers behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._connection import TokenFile, token_of
from kvcore.cli._output import AsJson, ExitCode, note, show, visible
from kvcore.cli._settings import ConfigFile, Overrides, Profile, read

if TYPE_CHECKING:
    from kvcore.backends import Finding
    from kvcore.cli._running.judging import Looked
    from kvcore.doctor import Examined

__all__ = ("doctor", "store")

store = typer.Typer(name="store", help="Look after the store's servers.", no_args_is_help=True, rich_markup_mode=None)


def doctor(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url", metavar="URL", help="A running node or worker to be looked at. May be repeated: name all of them."
        ),
    ] = None,
    token_file: TokenFile = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, how that is known, and what to do: about the servers of each tier, or about running nodes.

    Without --url it connects to the servers that the settings name, which are read as `serve` does. It changes no data, and
    needs no running node.

    With --url it asks nodes and workers: what does not answer, what is degraded, what must agree between them and does not,
    whether writes get through the queue, and whether clocks agree. With a token of scope admin it sees settings and queue
    too. It looks at the servers besides if --profile, --config or --set is given.

    Exit code 1: there is an error.

    \b
    kvctl doctor --profile production
    kvctl doctor --config /etc/kvcore.toml --json | jq '.[].findings[] | select(.level != "ok")'
    kvctl doctor --url http://10.0.0.1:8000 --url http://10.0.0.2:8000 --url http://10.0.0.3:8001
    """
    parts: list[Examined | Looked] = []
    if not url or profile or config or overrides:
        parts += _examined(profile, config, overrides)
    if url:
        parts += _looked(url, token_file)
    show(parts, "\n".join(visible(line) for part in parts for line in _text(part)), as_json=as_json)
    errors = sum(finding.level == "error" for part in parts for finding in part.findings)
    if errors:
        note(f"{errors} {'error' if errors == 1 else 'errors'} found")
        raise typer.Exit(ExitCode.FAILED)


def _examined(profile: str | None, config: Path | None, overrides: list[str] | None) -> list[Examined]:
    import asyncio

    from kvcore.doctor import examine

    resolved, plugins = read(profile, config, overrides)
    note("looking at the servers of each tier")
    return asyncio.run(examine(resolved, plugins))


def _looked(urls: list[str], token_file: Path | None) -> list[Looked]:
    import asyncio

    from kvcore.cli._running.judging import judged
    from kvcore.cli._running.looking import look_at_all

    note("looking at running nodes and workers")
    return judged(asyncio.run(look_at_all(urls, token_of(token_file))))


def _text(part: Examined | Looked) -> list[str]:
    return [_title(part), *(line for finding in part.findings for line in _lines(finding))]


def _title(part: Examined | Looked) -> str:
    from kvcore.doctor import Examined

    if isinstance(part, Examined):
        return "this machine" if part.tier is None else f"{part.tier} ({part.backend})"
    return part.url or "all of them together"


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
