"""What there is to set: the table `[auth.jwt]`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ("Algorithm", "JwtSettings")

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures that are made with a private key, and verified with a public one. Those with a shared secret (HS256 …) are
not there: a file of public keys must not be something to forge tokens with."""


class JwtSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose tokens are taken, and what in them says what they allow."""

    keys: Annotated[
        str,
        Meta(
            min_length=1,
            description="File with the provider's public keys, a JWK Set; read again within a second when it has changed.",
        ),
    ]
    issuer: Annotated[str, Meta(min_length=1, description="What `iss` of a token must be.")]
    audience: Annotated[str, Meta(min_length=1, description="What `aud` of a token must be, or hold.")]
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1, description="How tokens may be signed; nothing else is taken.")
    ] = ("RS256", "ES256", "EdDSA")
    leeway_s: Annotated[
        float, Meta(ge=0, le=600, description="How far the provider's clock and this one may be apart.")
    ] = 10.0
    name_claim: Annotated[
        str, Meta(min_length=1, description="Claim that says whose token it is, for logs and limits.")
    ] = "sub"
    scope_claim: Annotated[
        str, Meta(min_length=1, description="Claim with the scopes: a text with spaces between them, or a list.")
    ] = "scope"
    scope_prefix: Annotated[
        str,
        Meta(
            description="What read, write and admin begin with there, such as `kvcore:`; scopes without it are others'."
        ),
    ] = ""
    prefix_claim: Annotated[
        str | None,
        Meta(
            description="Claim with the key prefixes: a text or a list; without the claim no key is allowed. Not set: any key is."
        ),
    ] = None
