"""Who may do what: scopes and key prefixes, and the contract of whoever knows the tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, Protocol

import msgspec

from kvcore.errors import ForbiddenError

__all__ = ("ANYBODY", "STRANGER", "Authentication", "Authenticator", "Grant", "Scope")

Scope = Literal["read", "write", "admin"]


class Grant(msgspec.Struct, frozen=True, gc=False):
    """What a token allows. `name` is shown in logs and metrics, and never says anything of the token itself.

    `prefixes` are those of the keys that may be read and written; "" is the prefix of every key.
    """

    name: str
    scopes: frozenset[Scope]
    prefixes: tuple[str, ...] = ("",)

    def check(self, scope: Scope, key: str) -> None:
        """Return if a key, or all keys that begin with `key`, may be read or written.

        Raises:
            ForbiddenError: they may not.
        """
        if scope not in self.scopes or not key.startswith(self.prefixes):
            raise ForbiddenError(_REFUSAL)

    def check_scope(self, scope: Scope) -> None:
        """Return if anything may be done in a scope: to be asked before the key is known.

        Raises:
            ForbiddenError: it may not.
        """
        if scope not in self.scopes:
            raise ForbiddenError(_REFUSAL)


_REFUSAL: Final = "the token does not allow this; ask for one with the scope and the key prefix that it needs"

ANYBODY: Final = Grant("anybody", frozenset(("read", "write", "admin")))
"""What everybody may do where nobody is asked for a token."""
STRANGER: Final = Grant("anonymous", frozenset())
"""Who asks for what is open, where everything else is not. A known token without a scope is somebody else."""


class Authenticator(Protocol):
    """Knows tokens. Called once for every request, so it must not wait for a server for long, and may be called concurrently."""

    async def authenticate(self, token: str) -> Grant | None:
        """Return what a bearer token allows; None: it is not known, has expired, or is no token at all.

        Every other text that can be sent gets None, the empty one included, which stands for no token. How long it takes tells
        nothing of a secret, and neither do logs and errors. Raises `UnavailableError` when it cannot be told now.
        """
        ...


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """How to make an authenticator: what a plugin registers, and `auth.mode` chooses by `name`.

    `settings` is a frozen msgspec Struct; its table is `[auth.<name>]` in the configuration. `open` takes it and `failed`, and
    returns an async context manager that yields the ready authenticator, or raises `SettingsError` with what to do. `failed`
    is to be called for each change of a file of tokens or keys that cannot be read or understood: it is counted as
    `kvcore_auth_file_errors_total`, since what was withdrawn by it stays in force. `ReloadedFile` does so.
    """

    name: str
    settings: type[msgspec.Struct]
    open: Callable[[Any, Callable[[], None]], AbstractAsyncContextManager[Authenticator]]
