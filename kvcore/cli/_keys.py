"""The commands for one key: `get`, `put`, `delete`; the last also for all keys with a prefix."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import uuid4

import typer

from kvcore.cli._connection import READ_FIRST, SEND_AGAIN, Ack, IfMatch, TokenFile, Url, connected, utf8, version
from kvcore.cli._consent import ask
from kvcore.cli._output import (
    AsJson,
    ExitCode,
    Progress,
    key_members,
    note,
    save,
    show,
    table,
    value_members,
    write_bytes,
)
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.client import Listed, Value, Written

__all__ = ("delete", "get", "put")

T = TypeVar("T")

Key = Annotated[str, typer.Argument(metavar="KEY", callback=utf8, show_default=False)]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="TEXT",
        help="Name of this conditional write: the same command with the same name gets its first answer again, also"
        " from another process. Default: a random one, which is told where the outcome is unknown; '': none.",
    ),
]


def get(
    key: Key,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the bytes of the value into this file, as they are."
        ),
    ] = None,
    min_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            callback=version,
            help="This version or a newer one, as a write has printed it; never older data.",
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=10, help="How long to wait for --min-version.")
    ] = 10.0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Ask the store, not the cache.")] = False,
    if_none_match: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            callback=version,
            help="Only if the key has another version than this; else exit code 4.",
        ),
    ] = None,
    head: Annotated[
        bool, typer.Option("--head", help="Print what there is to know of the key, without asking for its value.")
    ] = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of a key.

    A value that is a JSON string is printed as its text, any other JSON as it is, and any other value as its bytes, to the
    last one. Exit code 3: the key does not exist; 4: it still has the version of --if-none-match, and nothing is printed.

    \b
    kvctl get greeting
    kvctl get greeting --json | jq .version
    kvctl get greeting --head
    kvctl get logo --output logo.png
    """
    if head and (output is not None or if_none_match is not None):
        raise typer.BadParameter(
            "there is no value with it: leave out --output and --if-none-match", param_hint="--head"
        )
    with connected(url, token_file) as client:
        if head:
            line = _or_exit(key, client.head(key, min_version=min_version, wait_s=wait, from_store=no_cache))
            show(key_members(line), _table_of(line), as_json=as_json)
            return
        found = client.get(key, min_version=min_version, wait_s=wait, from_store=no_cache, if_none_match=if_none_match)
    if isinstance(found, str):
        note(f"the key {key!r} still has version {found}")
        raise typer.Exit(ExitCode.CONDITION_FAILED)
    value = _or_exit(key, found)
    if output is not None:
        save(output, value.data)
    elif as_json or value.is_json:
        show({"key": key, **value_members(value)}, _text(value) if value.is_json else "", as_json=as_json)
    else:
        write_bytes(value.data)


def put(
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", callback=utf8, show_default=False, help="'-' reads it from stdin."),
    ] = None,
    json_value: Annotated[
        bool, typer.Option("--json-value", help="VALUE is JSON, instead of text that is stored as a JSON string.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="Store the bytes of this file, as they are; '-': of stdin."),
    ] = None,
    media_type: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="Of --file; it comes back with the bytes. Default: application/octet-stream."
        ),
    ] = None,
    ttl: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="The key is missing after this time.")
    ] = None,
    ack: Ack = None,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        bool, typer.Option("--if-none-match", help="Only if the key does not exist: create, never replace.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a key, and print what became of it and its version.

    VALUE is text and is stored as a JSON string, letter by letter, also where it looks like a number or like JSON. With
    --json-value it is JSON. What is read from stdin is taken whole, a last newline included. --file stores bytes instead.
    Exit code 4: the condition does not hold, and nothing was written.

    \b
    kvctl put greeting hello
    kvctl put limits '{"per_minute": 60}' --json-value
    kvctl put session 4711 --ttl 3600
    kvctl put leader node-1 --if-none-match
    kvctl put report --file report.txt --media-type text/plain
    kvctl put logo --file logo.png --media-type image/png
    """
    if (value is None) == (file is None):
        raise typer.BadParameter("give either VALUE or --file", param_hint="VALUE")
    if file is None and media_type is not None:
        raise typer.BadParameter("it goes with --file: VALUE is text or JSON", param_hint="--media-type")
    if file is not None and json_value:
        raise typer.BadParameter("with --file, say --media-type application/json", param_hint="--json-value")
    if if_match is not None and if_none_match:
        raise typer.BadParameter("a write has one condition: this or --if-none-match", param_hint="--if-match")
    what = _loaded(file) if file is not None else _value(value or "", json_value=json_value)
    is_conditional = if_match is not None or if_none_match
    name = _idempotency_key(idempotency_key, is_conditional=is_conditional)
    with connected(url, token_file, if_unknown=_what_to_do(name, is_conditional=is_conditional)) as client:
        written = client.put(
            key,
            what,
            media_type=media_type,
            ttl_s=ttl,
            ack=ack,
            if_match=if_match,
            if_absent=if_none_match,
            idempotency_key=name or False,
        )
    _show_written(written, as_json=as_json)


def delete(
    key: Annotated[str | None, typer.Argument(metavar="KEY", callback=utf8, show_default=False)] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", callback=utf8, help="Delete all keys that begin with this; '': all keys."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --prefix deletes.")] = False,
    ack: Ack = None,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Delete a key, and print what became of it and its version; or all keys with a prefix, and print how many.

    Deleting a key that does not exist succeeds. Exit code 4: the condition does not hold, and nothing was deleted.

    \b
    kvctl delete greeting
    kvctl delete leader --if-match 0198f3a7c2d10000a1b2c3d4
    kvctl delete --prefix session/ --yes
    """
    if (key is None) == (prefix is None):
        raise typer.BadParameter("give either KEY or --prefix", param_hint="KEY")
    if prefix is not None:
        if if_match is not None or idempotency_key is not None:
            raise typer.BadParameter("conditions are for one key", param_hint="--prefix")
        _delete_all(prefix, url, token_file, ack, yes=yes, as_json=as_json)
        return
    is_conditional = if_match is not None
    name = _idempotency_key(idempotency_key, is_conditional=is_conditional)
    with connected(url, token_file, if_unknown=_what_to_do(name, is_conditional=is_conditional)) as client:
        written = client.delete(key or "", ack=ack, if_match=if_match, idempotency_key=name or False)
    _show_written(written, as_json=as_json)


def _delete_all(prefix: str, url: str, token_file: Path | None, ack: Any, *, yes: bool, as_json: bool) -> None:
    which = f"all keys that begin with {prefix!r}" if prefix else "ALL keys"
    ask(f"Delete {which} at {url}?", yes=yes, about="--prefix")
    with connected(url, token_file) as client, Progress("deleted") as progress:
        deleted = client.delete_prefix(prefix, ack=ack, progress=progress.at)
    show({"deleted": deleted}, f"deleted {deleted}", as_json=as_json)


def _show_written(written: Written, *, as_json: bool) -> None:
    detail = "stored" if written.stored else "queued"
    found: dict[str, object] = {"key": written.key, "version": written.version, "detail": detail}
    if written.created:
        found["created"] = True
    show(found, f"{detail} {written.version}", as_json=as_json)


def _idempotency_key(text: str | None, *, is_conditional: bool) -> str:
    """Return the idempotency key to send, "": none. It is made here, not by the client, so that it can be told."""
    return uuid4().hex if text is None and is_conditional else text or ""


def _what_to_do(name: str, *, is_conditional: bool) -> str:
    """Return what to do when the outcome of a write is unknown."""
    if name:
        return f"repeat with --idempotency-key {shlex.quote(name)}"
    return READ_FIRST if is_conditional else SEND_AGAIN


def _or_exit(key: str, found: T | None) -> T:
    """Return what was found, or end with the exit code of what was not."""
    if found is None:
        note(f"the key {key!r} does not exist")
        raise typer.Exit(ExitCode.NOT_FOUND)
    return found


def _table_of(line: Listed) -> str:
    return table(
        [
            ("version", line.version),
            ("size", f"{line.size_bytes:,} bytes"),
            ("media type", line.media_type),
            ("expires at", line.expires_at.isoformat() if line.expires_at else "never"),
        ]
    )


def _text(value: Value) -> str:
    parsed = value.json()
    return parsed if isinstance(parsed, str) else value.text()


def _value(text: str, *, json_value: bool) -> Any:
    """Return what to store: text, or JSON as it was written, unparsed."""
    import msgspec

    raw = sys.stdin.buffer.read() if text == "-" else text.encode()
    try:
        if json_value:
            msgspec.json.decode(raw)
            return msgspec.Raw(raw)
        return raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kind = "JSON" if json_value else "UTF-8"
        raise typer.BadParameter(f"this is not valid {kind}: {error}", param_hint="VALUE") from None


def _loaded(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read it: {error}", param_hint="--file") from None
