"""The commands that ask a running node: `get`, `put`, `delete`, `health`."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from kvcore.cli._output import AsJson, ExitCode, note, show, table

__all__ = ("delete", "get", "health", "put")


def _utf8(text: str | None) -> str | None:
    """Refuse what the shell passed as bytes that are not text."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("this is not valid UTF-8") from None
    return text


Key = Annotated[str, typer.Argument(metavar="KEY", callback=_utf8, show_default=False)]
Url = Annotated[str, typer.Option("--url", envvar="KVCORE_URL", help="Where the node is.")]
Ack = Annotated[
    Literal["accepted", "stored"] | None,
    typer.Option(
        "--ack",
        help="What to wait for: a durable queue has accepted it, or the store has it. Default: accepted where the node"
        " has a durable queue, else stored.",
    ),
]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", metavar="VERSION", help="Only if the key has this version; '*': only if it exists."),
]
NODE = "http://127.0.0.1:8000"


def get(
    key: Key,
    min_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="This version or a newer one, as a write has printed it; never older data."
        ),
    ] = None,
    url: Url = NODE,
    as_json: AsJson = False,
) -> None:
    """Print the value of a key.

    A value that is a JSON string is printed as its text, any other value as JSON. Exit code 3: the key does not exist.

    \b
    kvctl get greeting
    kvctl get greeting --json | jq .version
    """
    import msgspec

    from kvcore.cli import _client

    query = {"key": key} | ({"min_version": min_version} if min_version else {})
    answer = _client.send(url, "GET", "/kv", query=query)
    if _client.is_missing(answer):
        note(f"the key {key!r} does not exist")
        raise typer.Exit(ExitCode.NOT_FOUND)
    _client.refuse_problem(answer)
    value = _client.understood(answer, _client.Read).data.value
    parsed = msgspec.json.decode(value)
    text = parsed if isinstance(parsed, str) else bytes(value).decode()
    show({"key": key, "value": value, "version": _client.version_of(answer)}, text, as_json=as_json)


def put(
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", callback=_utf8, show_default=False, help="'-' reads it from stdin.")
    ],
    json_value: Annotated[
        bool, typer.Option("--json-value", help="VALUE is JSON, instead of text that is stored as a JSON string.")
    ] = False,
    ttl: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="The key is missing after this time.")
    ] = None,
    ack: Ack = None,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        bool, typer.Option("--if-none-match", help="Only if the key does not exist: create, never replace.")
    ] = False,
    url: Url = NODE,
    as_json: AsJson = False,
) -> None:
    """Write a key, and print what became of it and its version.

    VALUE is text and is stored as a JSON string, letter by letter, also where it looks like a number or like JSON. With
    --json-value it is JSON. What is read from stdin is taken whole, a last newline included.

    \b
    kvctl put greeting hello
    kvctl put limits '{"per_minute": 60}' --json-value
    kvctl put session 4711 --ttl 3600
    kvctl put leader node-1 --if-none-match
    kvctl put report - < report.txt
    """
    import msgspec

    data: dict[str, Any] = {"key": key, "value": _value(value, json_value=json_value)}
    if ttl is not None:
        data["ttl"] = ttl
    conditions = _conditions(if_match, if_none_match=if_none_match)
    _write("PUT", url, ack, conditions, as_json=as_json, content=msgspec.json.encode({"data": data}))


def delete(key: Key, ack: Ack = None, if_match: IfMatch = None, url: Url = NODE, as_json: AsJson = False) -> None:
    """Delete a key, and print what became of it and its version. Deleting a key that does not exist succeeds.

    \b
    kvctl delete greeting
    kvctl delete leader --if-match 0198f3a7c2d10000a1b2c3d4
    """
    _write("DELETE", url, ack, _conditions(if_match), as_json=as_json, key=key)


def health(url: Url = NODE, as_json: AsJson = False) -> None:
    """Print the health of a node and its tiers. Exit code 1: it is unhealthy, or does not answer.

    \b
    kvctl health
    kvctl health --json | jq .components.store
    """
    import msgspec

    from kvcore.cli import _client

    answer = _client.send(url, "GET", "/health")
    found = _client.understood(answer, _client.Health)
    rows = [
        (kind, tier.status, tier.backend, f"{tier.ping_ms:g} ms", tier.detail)
        for kind, tier in found.components.items()
    ]
    head = f"{found.status}: node {found.node}, profile {found.profile}, kvcore {found.version}"
    show(msgspec.Raw(answer.content), f"{head}\n{table(rows)}", as_json=as_json)
    if found.status == "unhealthy":
        raise typer.Exit(ExitCode.FAILED)


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


def _conditions(if_match: str | None, *, if_none_match: bool = False) -> dict[str, str]:
    headers = {"If-None-Match": "*"} if if_none_match else {}
    if if_match is not None:
        headers["If-Match"] = if_match if if_match == "*" else f'"{if_match}"'
    return headers


def _write(
    method: str,
    url: str,
    ack: str | None,
    conditions: dict[str, str],
    *,
    as_json: bool,
    key: str | None = None,
    content: bytes | None = None,
) -> None:
    from kvcore.cli import _client

    query = {name: text for name, text in {"key": key, "ack": ack}.items() if text is not None}
    headers = conditions | ({"Content-Type": "application/json"} if content else {})
    answer = _client.send(url, method, "/kv", query=query, headers=headers, content=content)
    _client.refuse_problem(answer)
    written = _client.understood(answer, _client.Written)
    found = {"key": written.data.key, "version": written.data.version, "detail": written.detail}
    show(found, f"{written.detail} {written.data.version}", as_json=as_json)
