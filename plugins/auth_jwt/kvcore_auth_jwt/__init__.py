"""Lets those in whom an identity provider vouches for: JSON Web Tokens, verified against a file of its keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kvcore.access import Authentication
from kvcore.hookspecs import hookimpl
from kvcore_auth_jwt.authenticator import JwtAuthenticator, open_jwt
from kvcore_auth_jwt.settings import JwtSettings

__all__ = ("AUTHENTICATION", "JwtAuthenticator", "JwtSettings", "kvcore_authenticate", "open_jwt")

AUTHENTICATION: Final = Authentication(name="jwt", settings=JwtSettings, open=open_jwt)


@hookimpl
def kvcore_authenticate() -> Iterable[Authentication]:
    """Give the way to authenticate "jwt"."""
    return [AUTHENTICATION]
