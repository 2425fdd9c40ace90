"""The live view of running nodes and workers: `top`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._connection import TokenFile, token_of
from kvcore.cli._output import AsJson, ExitCode, note, show
from kvcore.environment import LOCAL_URL, URL_VARIABLE

if TYPE_CHECKING:
    from kvcore.cli._running.figures import Figures

__all__ = ("top",)


def top(
    url: Annotated[
        list[str],
        typer.Option("--url", metavar="URL", envvar=URL_VARIABLE, help="Where a node or worker is. May be repeated."),
    ] = [LOCAL_URL],  # noqa: B006 - typer makes a list of its own of it
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="Time between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the figures of one interval, and end.")] = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Watch nodes and workers: how much they do, how fast, and what waits.

    Shown until q or Ctrl-C ends it, from /metrics and /health, which may need a token. Without a terminal, and with --json,
    it is as with --once: exit code 1 then means that one of them is unhealthy or does not answer.

    REQ/S leaves out health and metrics. HITS is the share of reads that the cache could answer. WRITES/S are those that a
    node has taken, or a worker has given to the store. LAG is the time from there to the store, OLDEST the age of the
    oldest write in a worker's hands. QUEUE counts messages, DEAD the dead letters, OPEN names the tiers whose circuit
    breaker is open. CPU is of one core.

    \b
    kvctl top
    kvctl top --url http://10.0.0.1:8000 --url http://10.0.0.2:8000 --url http://10.0.0.3:8001
    kvctl top --once --interval 10 --json | jq '.[].requests_per_s'
    """
    import asyncio

    from rich.console import Console

    from kvcore.cli._running.watching import live, one_interval

    console, token = Console(), token_of(token_file)
    if once or as_json or not console.is_terminal or console.is_dumb_terminal:
        _print(asyncio.run(one_interval(url, token, interval)), as_json=as_json)
    else:
        asyncio.run(live(console, url, token, interval))


def _print(figures: Sequence[Figures], *, as_json: bool) -> None:
    from kvcore.cli._running.screen import plain

    show(figures, plain(figures), as_json=as_json)
    for one in figures:
        if one.detail:
            note(f"{one.url}: {one.status}: {one.detail}")
    if any(one.status not in ("healthy", "degraded") for one in figures):
        raise typer.Exit(ExitCode.FAILED)
