"""kvcore's own tokens. Only their digests are kept: in the configuration, and in a file that may change at any time."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from kvcore.access import Grant, Scope
from kvcore.errors import SettingsError
from kvcore.reloading import ReloadedFile
from kvcore.secret import Secret, as_secret

__all__ = ("Token", "Tokens", "digest_of", "new_token", "parse_tokens", "refuse_doubles")

_PREFIX: Final = "kvc_"
"""What every token begins with, so that people, and those who search for secrets in repositories, recognise it."""
_DIGEST: Final = re.compile("[0-9a-fA-F]{64}")


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of a token: who has it and what it allows, and nothing that it could be made from."""

    name: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$",
            description="Who has it: up to 100 of A-Z a-z 0-9 . _ @ -, for logs and metrics.",
        ),
    ]
    sha256: Annotated[Secret, Meta(description="SHA-256 of the token, as 64 hex digits.")]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, description="What may be done: read, write, admin.")]
    prefixes: Annotated[
        tuple[str, ...], Meta(min_length=1, description='What keys must begin with; "" is the prefix of every key.')
    ] = ("",)
    expires: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="When it ends, with a time zone. Default: never.")
    ] = None

    def __post_init__(self) -> None:
        """Refuse a digest that is none: it could be the token itself, by mistake, so it is not repeated."""
        if not _DIGEST.fullmatch(self.sha256.reveal()):
            raise ValueError(
                f"the token {self.name!r}: sha256 must be 64 hex digits; make tokens with kvctl token create"
            )

    @property
    def digest(self) -> bytes:
        """The digest as bytes."""
        return bytes.fromhex(self.sha256.reveal())

    @property
    def grant(self) -> Grant:
        """What it allows."""
        return Grant(self.name, frozenset(self.scopes), self.prefixes)


def new_token() -> str:
    """Return a token that nobody has: a prefix, and 32 random bytes in base64url."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token.

    Slow hashes are for what people make up; nobody guesses 256 random bits, however fast the hash is.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class _Known(msgspec.Struct, frozen=True, gc=False):
    digest: bytes
    ends: float
    grant: Grant | None


_Table = Mapping[bytes, _Known]
_NOBODY: Final = _Known(bytes(32), -math.inf, None)


class Tokens:
    """The authenticator of these tokens: those of the configuration, and those of a file, if there is one.

    A token is known for as long as it has not expired. Whatever is asked about, the same is done: a digest is made and
    looked up, compared with the one found or with one that stands for none, and the time is compared. The lookup itself
    may take longer for one digest than for another, which tells nothing: the digests of tokens that somebody tries are
    random to them, and from a digest, even a whole one, no token can be found.
    """

    def __init__(
        self,
        configured: Iterable[Token],
        file: str | None = None,
        *,
        failed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file. `failed` is called when a change of it leaves nothing that can be understood.

        Raises:
            SettingsError: the file cannot be read or understood, a name or a digest is there twice, or there is no token.
        """
        own = tuple(configured)
        self._clock = clock
        self._file = None if file is None else ReloadedFile(file, _union(own, file), failed=failed, clock=ticks)
        self._table: _Table = _table(own)
        if not (self._table if self._file is None else self._file.content()):
            raise SettingsError("auth: tokens are asked for, and there are none; make one with kvctl token create")

    async def authenticate(self, token: str) -> Grant | None:
        """Return what a token allows; None: it is not known, has expired, or is none."""
        table = self._table if self._file is None else self._file.content()
        digest = digest_of(token)
        found = table.get(digest, _NOBODY)
        is_it = hmac.compare_digest(digest, found.digest)
        lives = self._clock() < found.ends
        return found.grant if is_it & lives else None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[Token, ...] = ()


def parse_tokens(content: bytes, name: str) -> tuple[Token, ...]:
    """Return the tokens that a TOML file lists as `[[tokens]]`; `name` is that of the file, for messages.

    Raises:
        SettingsError: it is not TOML, or not of this form. What stands in it is not repeated.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(content.decode())
        return msgspec.convert(tree, _File, dec_hook=as_secret).tokens
    except msgspec.ValidationError as error:
        raise SettingsError(f"the file of tokens {name}: {error}") from None
    except (ValueError, RecursionError):  # also a number of thousands of digits, which is no TOMLDecodeError
        raise SettingsError(f"the file of tokens {name} is not valid TOML") from None


def refuse_doubles(tokens: Iterable[Token]) -> None:
    """Return if each of these tokens has a name and a digest of its own.

    Raises:
        SettingsError: a name or a digest is there twice.
    """
    digests: set[bytes] = set()
    names: set[str] = set()
    for token in tokens:
        if token.name in names:
            raise SettingsError(
                f"auth: there are two tokens {token.name!r}; names must differ, so that one can be revoked"
            )
        if token.digest in digests:
            raise SettingsError(f"auth: the token {token.name!r} is there twice, under another name")
        names.add(token.name)
        digests.add(token.digest)


def _union(own: tuple[Token, ...], file: str) -> Callable[[bytes], _Table]:
    return lambda content: _table((*own, *parse_tokens(content, file)))


def _table(tokens: tuple[Token, ...]) -> _Table:
    """Return tokens by digest."""
    refuse_doubles(tokens)
    return {
        token.digest: _Known(
            token.digest, math.inf if token.expires is None else token.expires.timestamp(), token.grant
        )
        for token in tokens
    }
