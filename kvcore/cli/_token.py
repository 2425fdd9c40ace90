"""`kvctl token`: make tokens, list them, and end them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from kvcore.cli._output import AsJson, note, show, table
from kvcore.cli._settings import ConfigFile, Overrides, Profile, read
from kvcore.errors import SettingsError

if TYPE_CHECKING:
    from kvcore.tokens import Token

__all__ = ("app",)

TokenFile = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="The file of tokens. Default: auth.file of the configuration."),
]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

app = typer.Typer(
    name="token",
    help="Make, list and revoke the tokens that a node asks for.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who gets it: up to 100 of A-Z a-z 0-9 . _ @ -")],
    scopes: Annotated[list[str], typer.Option("--scope", help="read, write or admin. May be repeated.")],
    prefixes: Annotated[
        list[str] | None,
        typer.Option("--prefix", help="What keys must begin with. May be repeated. Default: any key will do."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90d, 12h, 30m, 45s, or a time such as 2030-01-31T00:00:00Z.")
    ] = None,
    file: TokenFile = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a token, and print it: once, since only its digest is kept.

    The digest goes into the file of tokens, which is made if it is not there, readable by its owner only; comments in it are
    not kept. Nodes know the token within a second. Without a file, what to add to the configuration is printed on stderr.

    \b
    TOKEN=$(kvctl token create reports --scope read --prefix reports/ --expires 90d --file tokens.toml)
    kvctl token create backup --scope read --scope write --scope admin
    """
    from kvcore.secret import Secret
    from kvcore.tokens import digest_of, new_token, refuse_doubles

    path, configured = _place(file, profile, config, overrides)
    text = new_token()
    entry = _entry(name, Secret(digest_of(text).hex()), scopes, prefixes, expires)
    if path is None:
        refuse_doubles((*configured, entry))
    else:
        with _changing(path) as tokens:
            tokens.append(entry)
            refuse_doubles((*configured, *tokens))
    lines = "\n".join(_lines("auth.tokens" if path is None else "tokens", entry))
    found = {"name": name, "token": text, "file": None if path is None else str(path), "entry": lines}
    show(found, text, as_json=as_json)
    if path is None:
        note(f"add this to the configuration, and restart the nodes:\n\n{lines}")
    else:
        note(f"{path} has its digest; the token itself is kept nowhere and is not shown again")


@app.command("list")
def list_tokens(
    file: TokenFile = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """List who has a token, and what it allows.

    \b
    kvctl token list
    kvctl token list --file tokens.toml --json | jq -r '.[].name'
    """
    path, configured = _place(file, profile, config, overrides)
    places = [(token, "the configuration") for token in configured]
    if path is not None:
        places += [(token, str(path)) for token in _read(path)]
    found = [
        {
            "name": token.name,
            "scopes": token.scopes,
            "prefixes": token.prefixes,
            "expires": token.expires,
            "expired": token.expires is not None and token.expires <= datetime.now(UTC),
            "place": place,
        }
        for token, place in places
    ]
    show(found, _text(found), as_json=as_json)
    if path is None and not found:
        note("no tokens in the configuration, and no file of tokens: name one with --file, or set auth.file")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose token is to end.")],
    file: TokenFile = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """End a token: take it out of the file of tokens. Nodes refuse it within a second.

    \b
    kvctl token revoke reports
    """
    path, configured = _place(file, profile, config, overrides)
    if any(token.name == name for token in configured):
        raise SettingsError(f"the token {name!r} stands in the configuration: remove it there, and restart the nodes")
    if path is None:
        raise SettingsError("which file? Name it with --file, or set auth.file")
    with _changing(path) as tokens:
        left = [token for token in tokens if token.name != name]
        if len(left) == len(tokens):
            raise SettingsError(f"{path} has no token {name!r}; `kvctl token list` shows what it has")
        tokens[:] = left
    show({"name": name, "file": str(path), "left": len(left)}, f"revoked {name}", as_json=as_json)


def _place(
    file: Path | None, profile: str | None, config: Path | None, overrides: list[str] | None
) -> tuple[Path | None, tuple[Token, ...]]:
    """Return the file of tokens, and the tokens of the configuration, which is read only if no file is named."""
    if file is not None:
        return file, ()
    from kvcore.settings import OWN_TOKENS

    auth = read(profile, config, overrides)[0].settings.auth
    if auth.mode not in (None, OWN_TOKENS):
        note(f"auth.mode = {auth.mode!r}: nodes with this configuration do not look at these tokens")
    return None if auth.file is None else Path(auth.file), auth.tokens


def _entry(name: str, digest: Any, scopes: list[str], prefixes: list[str] | None, expires: str | None) -> Token:
    import msgspec

    from kvcore.access import Scope
    from kvcore.secret import as_secret
    from kvcore.tokens import Token

    known = get_args(Scope)
    for scope in scopes:
        if scope not in known:
            raise typer.BadParameter(f"{scope!r} is none of {', '.join(known)}", param_hint="--scope")
    tree: dict[str, Any] = {"name": name, "sha256": digest, "scopes": scopes, "prefixes": prefixes or [""]}
    if expires is not None:
        tree["expires"] = _time(expires)
    try:
        return msgspec.convert(tree, Token, dec_hook=as_secret)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(str(error)) from None


def _time(text: str) -> datetime:
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        time = (
            now + timedelta(**{_UNITS[found[2]]: int(found[1])})
            if found
            else datetime.fromisoformat(text).astimezone(UTC)
        )
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time, such as 90d or 2030-01-31T00:00:00Z", param_hint="--expires"
        ) from None
    if time <= now:
        raise typer.BadParameter(f"{text!r} is over already", param_hint="--expires")
    return time


# --- the file ---------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[Token, ...]:
    from kvcore.tokens import parse_tokens

    try:
        return parse_tokens(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"the file of tokens {path} cannot be read: {error.strerror}") from None


@contextmanager
def _changing(path: Path) -> Iterator[list[Token]]:
    """Give the tokens of a file, and write them back as they are then; one process at a time."""
    import fcntl
    import os

    path = path.resolve()  # a link goes on leading to the file
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise SettingsError(f"the file of tokens {path} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        tokens = list(_read(path)) if path.exists() else []
        yield tokens
        _replace(path, "\n\n".join("\n".join(_lines("tokens", token)) for token in tokens) + "\n")
        os.fsync(folder)
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Replace a file at once. What nodes run as must still be able to read it, so its owner and mode stay."""
    import os
    import tempfile

    temporary = None
    try:
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
        with os.fdopen(number, "w", encoding="utf-8") as out:
            out.write(text)
            if path.exists():
                before = path.stat()
                os.fchown(number, before.st_uid, before.st_gid)
                os.fchmod(number, before.st_mode & 0o777)
            out.flush()
            os.fsync(number)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise SettingsError(f"the file of tokens {path} cannot be written: {error.strerror}") from None


def _lines(title: str, token: Token) -> Iterable[str]:
    from kvcore.cli._toml import literal

    yield f"[[{title}]]"
    yield f"name = {literal(token.name)}"
    yield f"sha256 = {literal(token.sha256.reveal())}"
    yield f"scopes = {literal(token.scopes)}"
    yield f"prefixes = {literal(token.prefixes)}"
    if token.expires is not None:
        yield f"expires = {token.expires.isoformat()}"


def _text(found: list[dict[str, Any]]) -> str:
    rows = [("NAME", "SCOPES", "PREFIXES", "EXPIRES", "PLACE")]
    for one in found:
        prefixes = "any key" if "" in one["prefixes"] else ", ".join(map(repr, one["prefixes"]))
        ends = "never" if one["expires"] is None else one["expires"].isoformat()
        ended = " (over)" if one["expired"] else ""
        rows.append((one["name"], ", ".join(one["scopes"]), prefixes, ends + ended, one["place"]))
    return table(rows)
