"""The command that asks a node how it is: `health`."""

from __future__ import annotations

import typer

from kvcore.cli._connection import TokenFile, Url, connected
from kvcore.cli._output import AsJson, ExitCode, in_line, show, table
from kvcore.environment import LOCAL_URL

__all__ = ("health",)


def health(url: Url = LOCAL_URL, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Print the health of a node and its tiers. Exit code 1: it is unhealthy, or does not answer.

    \b
    kvctl health
    kvctl health --json | jq .components.store
    """
    with connected(url, token_file) as client:
        found = client.health()
    rows = [
        (kind, tier.status, tier.backend, f"{tier.ping_ms:g} ms", tier.detail)
        for kind, tier in found.components.items()
    ]
    head = f"{found.status}: node {found.node}, profile {found.profile}, kvcore {found.version}"
    show(found, f"{in_line(head)}\n{table(rows)}", as_json=as_json)
    if found.status == "unhealthy":
        raise typer.Exit(ExitCode.FAILED)
