"""The command about the queue: `queue stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kvcore.cli._connection import TokenFile, Url, connected, told
from kvcore.cli._output import AsJson, ExitCode, note, show, table
from kvcore.environment import LOCAL_URL
from kvcore.errors import UnavailableError

if TYPE_CHECKING:
    from kvcore.client import Client, QueueStats

__all__ = ("app",)

app = typer.Typer(name="queue", help="Look at the queue.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def stats(url: Url = LOCAL_URL, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Print what is in the queue, how many workers drain it, the dead letters, and the lag: how long a write takes to the store.

    The lag is measured, by a write that changes nothing. Exit code 1: it was not back within 5 seconds, so no worker drains
    the queue, or the store cannot be reached. The token needs the scope admin.

    \b
    kvctl queue stats
    kvctl queue stats --json | jq .channels.writes.waiting
    """
    with connected(url, token_file) as client:
        found = client.admin.queue()
        lag_s, late = _lag(client)
    members = {"channels": found.channels, "dead_letters": found.dead_letters, "lag_s": lag_s}
    show(members, _text(found, lag_s), as_json=as_json)
    if late:
        note(f"the lag could not be measured: {late}")
        raise typer.Exit(ExitCode.FAILED)


def _lag(client: Client) -> tuple[float | None, str]:
    """Return the lag in seconds, or why it is not known."""
    try:
        return client.admin.lag(), ""
    except UnavailableError as error:
        return None, told(error)


def _text(found: QueueStats, lag_s: float | None) -> str:
    rows = [("CHANNEL", "WAITING", "UNSETTLED", "WORKERS")]
    rows += [
        (name, _number(channel.waiting), _number(channel.unsettled), _number(channel.consumers))
        for name, channel in found.channels.items()
    ]
    lag = "unknown" if lag_s is None else f"{lag_s * 1000:,.1f} ms"
    return f"{table(rows)}\ndead letters: {_number(found.dead_letters)}\nlag: {lag}"


def _number(number: Any) -> str:
    return "unknown" if number is None else f"{number:,}"
