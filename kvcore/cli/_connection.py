"""What the commands that ask a running node have in common: where it is, the token for it, and what they say when it fails."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from kvcore.environment import TOKEN_VARIABLE, URL_VARIABLE
from kvcore.errors import (
    ForbiddenError,
    KvcoreError,
    RateLimitedError,
    SettingsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from kvcore.client import Client, Retries

__all__ = (
    "READ_FIRST",
    "SEND_AGAIN",
    "Ack",
    "IfMatch",
    "TokenFile",
    "Url",
    "connected",
    "token_of",
    "told",
    "utf8",
    "version",
)

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="Where the node is.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"File with the token for the node. Default: the token in {TOKEN_VARIABLE}, if any.",
    ),
]
Ack = Annotated[
    Literal["accepted", "stored"] | None,
    typer.Option(
        "--ack",
        help="What to wait for: a durable queue has accepted it, or the store has it. Default: accepted where the node"
        " has a durable queue, else stored.",
    ),
]


def version(text: str | None) -> str | None:
    """Refuse what is no version."""
    if text is not None and not _VERSION.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} is no version: give the 24 hex digits that a write has printed, without quotes"
        )
    return text


def version_or_any(text: str | None) -> str | None:
    """Refuse what is neither a version nor `*`."""
    return text if text == "*" else version(text)


IfMatch = Annotated[
    str | None,
    typer.Option(
        "--if-match",
        metavar="VERSION",
        callback=version_or_any,
        help="Only if the key has this version; '*': only if it exists.",
    ),
]

_VERSION: Final = re.compile("[0-9a-f]{24}")
SEND_AGAIN: Final = "sending the same again is safe"
READ_FIRST: Final = "read the key before writing again: the same condition could fail by this very write"
"""What to do about a conditional write without a name whose outcome is unknown."""

_WHAT_TO_DO: Final[tuple[tuple[type[KvcoreError], str], ...]] = (
    (UnauthenticatedError, f"kvctl takes it from {TOKEN_VARIABLE} or --token-file"),
    (ForbiddenError, f"kvctl takes it from {TOKEN_VARIABLE} or --token-file"),
    (RateLimitedError, "wait, and send less at a time: `kvctl batch` does many operations in one request"),
    (UnsupportedError, "`kvctl plugins` tells what each backend can do"),
)


@contextmanager
def connected(
    url: str,
    token_file: Path | None,
    *,
    if_unknown: str = SEND_AGAIN,
    retries: Retries | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Client]:
    """Give a client of the node; for `if_unknown` see `told`, for `retries` and `sleep` the client.

    Raises:
        KvcoreError: what the client raises, with what a user of kvctl can do about it.
    """
    from kvcore.client import Client

    with Client(url, token=token_of(token_file), retries=retries, sleep=sleep) as client:
        try:
            yield client
        except KvcoreError as error:
            error.args = (told(error, if_unknown=if_unknown),)
            raise


def told(error: KvcoreError, *, if_unknown: str = SEND_AGAIN) -> str:
    """Return an error as a line for people: what is wrong, what became of it, what to do; `if_unknown`: where that is not known."""
    text = str(error)
    if isinstance(error, UnavailableError) and error.outcome == "unknown":
        text += f" (outcome: unknown; it may have been done: {if_unknown})"
    if text.startswith("no node answers"):
        text += f"; start one with `kvctl serve`, or name another with --url or {URL_VARIABLE}"
    hint = next((hint for kind, hint in _WHAT_TO_DO if isinstance(error, kind)), None)
    return f"{text}; {hint}" if hint else text


def utf8(text: str | None) -> str | None:
    """Refuse what the shell passed as bytes that are not text."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("this is not valid UTF-8") from None
    return text


def token_of(file: Path | None) -> str | None:
    """Return the token: never from an argument, which every user of the machine can see."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(f"--token-file: cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--token-file: {file} is not ASCII text: write nothing but the token into it") from None
