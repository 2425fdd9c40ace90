"""The keys of an identity provider, from a JWK Set."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from kvcore.errors import SettingsError

__all__ = ("KeySet", "keys_of")

_BY_CURVE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_MIN_RSA_BITS: Final = 2048


class KeySet:
    """Finds the key that a token says it is signed with.

    A key verifies those algorithms only that it was made for: the token does not choose how its key is used.
    """

    def __init__(self, keys: Mapping[str | None, Mapping[str, jwt.PyJWK]]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return a key by its id, for an algorithm; without an id the only key that there is. None: there is none."""
        if kid is None and len(self._keys) == 1:
            (only,) = self._keys.values()
            return only.get(algorithm)
        return self._keys.get(kid, {}).get(algorithm) if kid is not None else None


def keys_of(algorithms: Collection[str], file: str) -> Callable[[bytes], KeySet]:
    """Return the function that reads a JWK Set. `file` is its name, for messages.

    Keys for something else than these algorithms are passed over, as RFC 7517 wants it, and there may be none left. It
    raises `SettingsError` if it is no JWK Set, or two keys have one id.
    """

    def read(content: bytes) -> KeySet:
        try:
            listed = json.loads(content)["keys"]
            found = [(_id_of(jwk), _usable(jwk, algorithms)) for jwk in listed]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, jwt.PyJWTError) as error:
            # What the error says may be what stands in the file, and there may be a private key in that.
            raise SettingsError(f"the file of keys {file} is not a sound JWK Set: {type(error).__name__}") from None
        keys = [(kid, usable) for kid, usable in found if usable]
        if len({kid for kid, _ in keys}) < len(keys):
            raise SettingsError(f"the file of keys {file} has two keys of one id")
        return KeySet(dict(keys))

    return read


def _id_of(jwk: dict[str, Any]) -> str | None:
    kid = jwk.get("kid")
    if kid is None or isinstance(kid, str):
        return kid
    raise TypeError("a kid that is no text")


def _usable(jwk: dict[str, Any], algorithms: Collection[str]) -> dict[str, jwt.PyJWK]:
    """Return a key by the algorithms that it may be used for: none, if it is for something else or too weak."""
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]) or "d" in jwk:
        return {}
    able = _RSA if jwk["kty"] == "RSA" else _BY_CURVE.get((jwk["kty"], jwk.get("crv", "")), ())
    wanted = [one for one in able if one in algorithms and jwk.get("alg", one) == one]
    keys = {one: jwt.PyJWK(jwk, one) for one in wanted}
    return {one: key for one, key in keys.items() if not _is_weak(key.key)}


def _is_weak(key: Any) -> bool:
    return isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS
