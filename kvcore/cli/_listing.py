"""The command that lists keys: `list`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._connection import TokenFile, Url, connected, utf8
from kvcore.cli._output import AsJsonLines, show, shown_key, value_members
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.client import Listed

__all__ = ("list_keys",)


def list_keys(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", callback=utf8, show_default=False, help="What the keys begin with.")
    ] = "",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many keys.")] = None,
    values: Annotated[bool, typer.Option("--values", help="Show the values too; with --json.")] = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print the keys that begin with PREFIX, one a line, in the order of their bytes, as the store has them.

    A key with a control character in it, such as a newline, or a quote at its beginning, is printed as a JSON string; every
    other key as it is.

    \b
    kvctl list
    kvctl list session/ --limit 10
    kvctl list session/ --values --json | jq .value
    """
    if values and not as_json:
        raise typer.BadParameter("a value can have many lines: add --json", param_hint="--values")
    with connected(url, token_file) as client:
        page_size = 1000 if limit is None else min(limit, 1000)
        for line in islice(client.keys(prefix, values=values, page_size=page_size), limit):
            show(_members(line), shown_key(line.key), as_json=as_json)


def _members(line: Listed) -> dict[str, object]:
    head = {"key": line.key, "size": line.size_bytes}
    if line.value is not None:
        return head | value_members(line.value)
    return head | {"version": line.version, "media_type": line.media_type, "expires_at": line.expires_at}
