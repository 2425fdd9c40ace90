"""Verifies JSON Web Tokens, and reads from them what they allow."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, get_args

import jwt
import msgspec

from kvcore.access import Grant, Scope
from kvcore.errors import SettingsError
from kvcore.reloading import ReloadedFile
from kvcore_auth_jwt.keyset import KeySet, keys_of
from kvcore_auth_jwt.settings import JwtSettings

__all__ = ("JwtAuthenticator", "open_jwt")

logger = logging.getLogger(__name__)

_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_CHARS: Final = 8192
_MAX_NAME: Final = 255
_REMEMBERED: Final = 10_000
_LATEST: Final = 1e11
"""In seconds since 1970: what is later is no time, and infinity would be no end."""
_SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


class _Verified(msgspec.Struct, frozen=True, gc=False):
    grant: Grant
    ends: float


class JwtAuthenticator:
    """Takes a token if the provider has signed it, for this audience, and it is valid now.

    A signature takes some 50 to 200 µs to verify, so what was verified is remembered, by digest, until it expires or the keys
    change. How long a refusal takes tells only how far a token is right, which whoever made it knows: the keys are public.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        failed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the keys. `failed` is called for each change of the file that leaves no sound JWK Set.

        Raises:
            SettingsError: the file cannot be read, is not a sound JWK Set, or has no key that can be used.
        """
        self._settings = settings
        self._clock = clock
        try:
            self._file = ReloadedFile(
                settings.keys, keys_of(settings.algorithms, settings.keys), failed=failed, clock=ticks
            )
        except SettingsError as error:
            raise SettingsError(f"auth.jwt.keys: {error}") from None
        if not self._file.content():
            wanted = ", ".join(settings.algorithms)
            raise SettingsError(
                f"auth.jwt.keys: the file {settings.keys} has no key for {wanted} (auth.jwt.algorithms)"
            )
        self._keys: KeySet | None = None
        self._verified: dict[bytes, _Verified] = {}

    async def authenticate(self, token: str) -> Grant | None:
        if len(token) > _MAX_CHARS or not _FORM.fullmatch(token):
            return None
        keys = self._file.content()
        if keys is not self._keys:  # a key that was taken away must verify nothing any longer
            self._keys = keys
            self._verified.clear()
            if not keys:
                logger.warning(
                    "the file %s has no key that can be used any more: no token is taken", self._settings.keys
                )
        digest = hashlib.sha256(token.encode()).digest()
        found = self._verified.get(digest)
        if found is None:
            found = self._verify(token, keys)
            if found is None:
                return None
            if len(self._verified) >= _REMEMBERED:
                del self._verified[next(iter(self._verified))]  # the oldest
            self._verified[digest] = found
        return found.grant if self._clock() < found.ends else None

    def _verify(self, token: str, keys: KeySet) -> _Verified | None:
        try:
            header = jwt.get_unverified_header(token)
            key = keys.find(header.get("kid"), header["alg"])
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],  # one that is allowed, and that the key is for: see KeySet
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                # Times are looked at below, since a token that was verified is looked at again.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            return self._valid(claims)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
            return None  # whatever is wrong with it: it is none of ours

    def _valid(self, claims: dict[str, Any]) -> _Verified | None:
        """Return what verified claims allow, and until when; None: not yet, or something that is needed has a wrong form."""
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        name = claims.get(self._settings.name_claim)
        if not all(map(_is_time, times.values())) or not isinstance(name, str):
            return None
        if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            return None
        latest = self._clock() + self._settings.leeway_s
        if times.get("nbf", latest) > latest or times.get("iat", latest) > latest:
            return None
        scopes = self._scopes(claims.get(self._settings.scope_claim))
        grant = Grant(name, scopes, self._prefixes(claims))
        return _Verified(grant, times["exp"] + self._settings.leeway_s)

    def _scopes(self, claim: Any) -> frozenset[Scope]:
        given = claim.split(" ") if isinstance(claim, str) else claim if isinstance(claim, list) else ()
        return frozenset(scope for scope in _SCOPES if self._settings.scope_prefix + scope in given)

    def _prefixes(self, claims: dict[str, Any]) -> tuple[str, ...]:
        if self._settings.prefix_claim is None:
            return ("",)
        claim = claims.get(self._settings.prefix_claim)
        given = claim if isinstance(claim, list) else [claim]
        return tuple(prefix for prefix in given if isinstance(prefix, str))


@asynccontextmanager
async def open_jwt(settings: JwtSettings, failed: Callable[[], None]) -> AsyncIterator[JwtAuthenticator]:
    """Yield the authenticator. `failed`: see there.

    Raises:
        SettingsError: the file of keys cannot be read, or is not a sound JWK Set.
    """
    yield JwtAuthenticator(settings, failed=failed)


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LATEST
