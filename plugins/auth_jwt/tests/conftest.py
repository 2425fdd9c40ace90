"""An identity provider of the tests' own: keys, their JWK Set, and the tokens that they sign."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from kvcore_auth_jwt import JwtSettings

NOW: Final = 1_800_000_000
CLAIMS: Final[Mapping[str, Any]] = {
    "iss": "https://id.example",
    "aud": "kvcore",
    "sub": "alice",
    "exp": NOW + 60,
    "nbf": NOW - 60,
    "iat": NOW - 60,
    "scope": "openid read write",
}


class Key:
    """A private key, for one algorithm."""

    def __init__(self, kid: str, algorithm: str = "ES256", *, bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        if algorithm == "EdDSA":
            self.private: Any = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            self.private = ec.generate_private_key(curves[algorithm])
        else:
            self.private = rsa.generate_private_key(65_537, bits)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as a member of a JWK Set."""
        algorithm: Any = get_default_algorithms()[self.algorithm]
        made: dict[str, Any] = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {name: value for name, value in made.items() if name != "key_ops"} | {"kid": self.kid, "use": "sig"}

    def sign(self, claims: Mapping[str, Any] | None = None, **header: Any) -> str:
        """Return a token; claims and header fields that are None are left out."""
        payload = {name: value for name, value in {**CLAIMS, **(claims or {})}.items() if value is not None}
        headers = {name: value for name, value in {"kid": self.kid, **header}.items() if value is not None}
        return jwt.encode(payload, self.private, self.algorithm, headers=headers)


class Clock:
    """The time as tests set it, in seconds."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        """Return it."""
        return self.now


class Provider:
    """Keys in a file, and the settings that lead to it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.json"
        self.clock = Clock()

    def publish(self, *jwks: Mapping[str, Any]) -> None:
        """Write a JWK Set in the place of the last one."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": jwks}), encoding="utf-8")
        fresh.replace(self.file)

    def settings(self, **others: Any) -> JwtSettings:
        """Return settings that fit."""
        given = {"keys": str(self.file), "issuer": CLAIMS["iss"], "audience": CLAIMS["aud"], "leeway_s": 10.0}
        return JwtSettings(**{**given, **others})


@pytest.fixture(scope="session")
def make_key() -> Callable[..., Key]:
    """Give a function that makes keys; each is made once, since some take long."""
    made: dict[tuple[object, ...], Key] = {}

    def make(kid: str, algorithm: str = "ES256", *, bits: int = 2048) -> Key:
        return made.setdefault((kid, algorithm, bits), Key(kid, algorithm, bits=bits))

    return make


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    """Give a provider without keys."""
    return Provider(tmp_path)
