"""From settings to whoever knows the tokens of a node or worker; and the refusal to let everybody in by oversight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from kvcore.access import Authenticator
from kvcore.config import Resolved
from kvcore.errors import SettingsError
from kvcore.plugins import Plugins
from kvcore.settings import OPEN, OWN_TOKENS
from kvcore.tokens import Tokens

__all__ = ("is_open_by_default", "open_authenticator", "own_tokens", "refuse_exposure")


@asynccontextmanager
async def open_authenticator(
    resolved: Resolved, plugins: Plugins, *, failed: Callable[[], None]
) -> AsyncIterator[Authenticator | None]:
    """Yield whoever knows the tokens; None: nobody is asked for one.

    `failed` is called whenever a change of a file of tokens or keys leaves nothing that can be understood.

    Raises:
        SettingsError: it cannot work with its settings, or there is no token.
    """
    mode = resolved.settings.auth.mode
    if resolved.authentication is None or mode is None:
        yield own_tokens(resolved, failed=failed)
        return
    async with plugins.authentication(mode).open(resolved.authentication, failed) as authenticator:
        yield authenticator


def own_tokens(resolved: Resolved, *, failed: Callable[[], None] = lambda: None) -> Tokens | None:
    """Return whoever knows kvcore's own tokens; None: nobody is asked for one of those.

    `failed` is called whenever a change of `auth.file` leaves nothing that can be understood.

    Raises:
        SettingsError: `auth.file` cannot be read or understood, or there is no token where one is needed.
    """
    auth = resolved.settings.auth
    if auth.mode == OWN_TOKENS or (auth.mode is None and not is_open_by_default(resolved)):
        if auth.file is not None and not Path(auth.file).exists():
            source = resolved.sources["auth.file"]
            raise SettingsError(
                f"auth.file = {auth.file!r} ({source}): there is no such file; make it with `kvctl token create`"
            )
        return Tokens(auth.tokens, auth.file, failed=failed)
    shut = [name for name in auth.__struct_fields__ if name.startswith("open_") and not getattr(auth, name)]
    if auth.mode is None and shut:
        raise SettingsError(
            f"auth.{shut[0]} = false: nobody could show a token, since none are configured; make one with kvctl token create"
        )
    return None


def is_open_by_default(resolved: Resolved) -> bool:
    """Tell whether everybody is let in, and nobody has written down that this is wanted."""
    auth = resolved.settings.auth
    return auth.mode is None and auth.file is None and not auth.tokens


def refuse_exposure(resolved: Resolved) -> None:
    """Return if a node does not let everybody in from other machines by oversight.

    Raises:
        SettingsError: it would; the message says what to do.
    """
    host = resolved.settings.http.host
    if is_open_by_default(resolved) and not _is_loopback(host):
        source = resolved.sources.get("http.host", "default")
        raise SettingsError(
            f"http.host = {host!r} ({source}): other machines could read and write everything, since no tokens are configured;"
            " make one with `kvctl token create NAME --scope read --scope write --file tokens.toml` and set"
            f' auth.file = "tokens.toml"; or, if everybody shall be let in, set auth.mode = "{OPEN}"'
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
