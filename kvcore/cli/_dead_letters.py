"""The commands about dead letters: writes and deletes that the store has rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kvcore.cli._connection import TokenFile, Url, connected
from kvcore.cli._consent import Yes, ask
from kvcore.cli._output import AsJson, ExitCode, Progress, note, save, show, shown_key, table, value_members, visible
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.client import Client, DeadLetter, Value

__all__ = ("app",)

AT_ONCE: Final = 1000

app = typer.Typer(
    name="dead-letters",
    help="Look at writes that the store has rejected, and decide what becomes of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", show_default=False, help="As `list` prints them.")]
All = Annotated[bool, typer.Option("--all", help="All that there are now.")]


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=AT_ONCE, help="At most so many.")] = 100,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the dead letters, oldest first, with their reasons.

    The token needs the scope admin, as for all of these commands.

    \b
    kvctl dead-letters list
    kvctl dead-letters list --limit 1000 --json | jq -r '.[].reason'
    """
    with connected(url, token_file) as client:
        letters = client.admin.dead_letters(limit)
    rows = [("ID", "KEY", "OP", "BYTES", "VERSION", "REASON")]
    rows += [
        (one.id, shown_key(one.key), one.op, f"{one.size_bytes:,}", one.version, " ".join(one.reason.split()))
        for one in letters
    ]
    show([_members(one) for one in letters], table(rows) if letters else "no dead letters", as_json=as_json)


@app.command("show")
def show_letter(
    id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],  # noqa: A002 - what it is called everywhere
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the bytes of the value into this file, as they are."
        ),
    ] = None,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a dead letter with its value.

    A value that is neither JSON nor text is not printed, but for --json, which has it in base64. Exit code 3: there is no
    dead letter of this id.

    \b
    kvctl dead-letters show 7f3a
    kvctl dead-letters show 7f3a --output value.bin
    """
    with connected(url, token_file) as client:
        letter = client.admin.dead_letter(id)
    if letter is None:
        note(f"there is no dead letter {id!r}: it was replayed or discarded, or never there")
        raise typer.Exit(ExitCode.NOT_FOUND)
    if output is None:
        show(_members(letter), _text(letter), as_json=as_json)
    elif letter.value is None:
        raise typer.BadParameter("a delete has no value", param_hint="--output")
    else:
        save(output, letter.value.data)


@app.command()
def replay(
    ids: Ids = None,
    every: All = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back on the queue, and print how many.

    For when what made the store reject them is mended. What has been written to a key since then stays, since a replayed
    write keeps its version. One that the store rejects again is a dead letter again.

    \b
    kvctl dead-letters replay 7f3a 7f3b
    kvctl dead-letters replay --all
    """
    _refuse_unclear(ids, every=every)
    with connected(url, token_file) as client:
        _decide(client.admin.replay, "replayed", _all_now(client) if every else [ids or ()], ids, as_json=as_json)


@app.command()
def discard(
    ids: Ids = None,
    every: All = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters for good, and print how many.

    Their values are lost. Asks first; without a terminal it refuses unless --yes is given.

    \b
    kvctl dead-letters discard 7f3a
    kvctl dead-letters discard --all --yes
    """
    _refuse_unclear(ids, every=every)
    which = "ALL dead letters" if every else f"{len(ids or ())} of the dead letters"
    ask(f"Discard {which} at {url} for good?", yes=yes)
    with connected(url, token_file) as client:
        _decide(client.admin.discard, "discarded", _all_now(client) if every else [ids or ()], ids, as_json=as_json)


def _decide(
    act: Callable[[Sequence[str]], int],
    done: str,
    lots: Iterable[Sequence[str]],
    named: list[str] | None,
    *,
    as_json: bool,
) -> None:
    """Act on letters lot by lot, and tell how many; where some that were `named` were not there, end as for a missing key."""
    with Progress(done) as progress:
        count = 0
        for lot in lots:
            count += act(lot)
            progress.at(count)
    show({done: count}, f"{done} {count}", as_json=as_json)
    if named and (missing := len(set(named)) - count) > 0:
        note(f"{missing} of those named were not there: they were replayed or discarded before, or never there")
        raise typer.Exit(ExitCode.NOT_FOUND)


def _refuse_unclear(ids: list[str] | None, *, every: bool) -> None:
    if every == bool(ids):
        raise typer.BadParameter("give either IDs or --all", param_hint="ID...")


def _all_now(client: Client) -> Iterator[Sequence[str]]:
    """Yield the ids of all dead letters, as many at a time as can be listed; the caller takes each lot away.

    One that comes back, since the store has rejected it again, is not yielded again: else this might never end.
    """
    seen: set[tuple[str, str]] = set()
    while letters := [one for one in client.admin.dead_letters(AT_ONCE) if (one.key, one.version) not in seen]:
        seen.update((one.key, one.version) for one in letters)
        yield [one.id for one in letters]


def _members(letter: DeadLetter) -> dict[str, Any]:
    head = {
        "id": letter.id,
        "key": letter.key,
        "op": letter.op,
        "version": letter.version,
        "reason": letter.reason,
        "size": letter.size_bytes,
        "media_type": letter.media_type,
        "expires_at": letter.expires_at,
        "condition": letter.condition,
    }
    return head | value_members(letter.value) if letter.value is not None else head


def _text(letter: DeadLetter) -> str:
    told = {
        "key": shown_key(letter.key),
        "op": letter.op,
        "version": letter.version,
        "reason": " ".join(letter.reason.split()),
        "condition": letter.condition or "none",
        "expires": letter.expires_at.isoformat() if letter.expires_at else "never",
    }
    if letter.op == "put":
        told |= {"media type": letter.media_type or "", "bytes": f"{letter.size_bytes:,}"}
    head = table(list(told.items()))
    return head if letter.value is None else f"{head}\n\n{_value_text(letter.value)}"


def _value_text(value: Value) -> str:
    try:
        return visible(value.text())
    except UnicodeDecodeError:
        return "(the value is no text: --output writes it into a file)"
