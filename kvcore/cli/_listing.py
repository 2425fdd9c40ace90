"""The command that lists keys: `list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from kvcore.cli._connection import TokenFile, Url, connected, utf8
from kvcore.cli._output import AsJsonLines, key_members, note, show, shown_key
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.client import Client, Page

__all__ = ("list_keys",)

AT_ONCE: Final = 1000
"""Keys in one page: as many as a node gives."""


def list_keys(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", callback=utf8, show_default=False, help="What the keys begin with.")
    ] = "",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many keys.")] = None,
    cursor: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR", callback=utf8, help="Go on where --limit has ended a listing of the same PREFIX."
        ),
    ] = None,
    values: Annotated[bool, typer.Option("--values", help="Show the values too; with --json.")] = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print the keys that begin with PREFIX, one a line, in the order of their bytes, as the store has them.

    A key with a control character in it, such as a newline, or a quote at its beginning, is printed as a JSON string; every
    other key as it is. Where --limit ends the listing before its end, the cursor to go on with is told on stderr; with
    --json it is the member "cursor" of the last line.

    \b
    kvctl list
    kvctl list session/ --limit 10
    kvctl list session/ --limit 10 --json | tail -n 1 | jq -r '.cursor // empty'
    kvctl list session/ --values --json | jq .value
    """
    if values and not as_json:
        raise typer.BadParameter("a value can have many lines: add --json", param_hint="--values")
    with connected(url, token_file) as client:
        while True:
            page = _page(client, prefix, limit, cursor, values=values)
            cursor = page.cursor
            limit = None if limit is None else limit - len(page.lines)
            is_full = limit is not None and limit <= 0
            _show(page, with_cursor=is_full and cursor is not None, as_json=as_json)
            if is_full or cursor is None:
                break
    if cursor is not None and not as_json:
        note(f"there may be more keys: go on with --cursor={cursor}")


def _page(client: Client, prefix: str, limit: int | None, cursor: str | None, *, values: bool) -> Page:
    return client.page(prefix, values=values, limit=min(limit or AT_ONCE, AT_ONCE), cursor=cursor)


def _show(page: Page, *, with_cursor: bool, as_json: bool) -> None:
    for place, line in enumerate(page.lines, start=1):
        ends = with_cursor and place == len(page.lines)
        members = key_members(line) | ({"cursor": page.cursor} if ends else {})
        show(members, shown_key(line.key), as_json=as_json)
