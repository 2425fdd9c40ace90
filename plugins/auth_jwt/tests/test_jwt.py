"""Which tokens are taken, what they allow, and what a change of the keys does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import get_default_algorithms

from kvcore.access import Grant
from kvcore.config import resolve
from kvcore.errors import SettingsError
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node
from kvcore_auth_jwt import JwtAuthenticator
from kvcore_auth_jwt.settings import Algorithm

NOW = 1_800_000_000
ALICE = Grant("alice", frozenset(("read", "write")))


@pytest.fixture
def key(provider: Any, make_key: Any) -> Any:
    """Give the provider's one key."""
    made = make_key("one")
    provider.publish(made.jwk)
    return made


def opened(provider: Any, **settings: Any) -> JwtAuthenticator:
    """Open an authenticator whose clocks are the provider's."""
    return JwtAuthenticator(provider.settings(**settings), clock=provider.clock, ticks=provider.clock)


def part(content: Mapping[str, Any] | bytes) -> str:
    """Return a part of a token."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token: str) -> str:
    """Return the part of a token that holds its claims."""
    return token.split(".")[1]


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
async def test_every_algorithm_can_be_allowed(provider: Any, make_key: Any, algorithm: str) -> None:
    """A token is taken under each algorithm that the settings allow, and under no other."""
    signer = make_key("key", algorithm)
    provider.publish(signer.jwk)
    assert await opened(provider, algorithms=(algorithm,)).authenticate(signer.sign()) == ALICE
    with pytest.raises(SettingsError, match="no key for"):
        opened(provider, algorithms=("ES256" if algorithm != "ES256" else "EdDSA",))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", "ES256K", "", 1, None, ["ES256"]])
async def test_an_algorithm_that_is_not_allowed_is_refused(provider: Any, key: Any, algorithm: object) -> None:
    """Neither no signature nor an algorithm of another family is taken, whatever the signature is."""
    authenticator = opened(provider)
    signed = key.sign()
    for kid in ({"kid": "one"}, {}):
        header = part({"alg": algorithm, "typ": "JWT", **kid})
        for signature in ("", part(b"x"), signed.split(".")[2]):
            assert await authenticator.authenticate(f"{header}.{claims_of(signed)}.{signature}") is None


async def test_a_public_key_is_no_shared_secret(provider: Any, make_key: Any) -> None:
    """A token that is signed by HMAC with the bytes of the public key, which everybody has, is refused."""
    signer = make_key("rsa", "RS256")
    provider.publish(signer.jwk)
    authenticator = opened(provider)
    public = signer.private.public_key()
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        secret = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        signed = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{claims_of(signer.sign())}"
        code = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert await authenticator.authenticate(f"{signed}.{part(code)}") is None


async def test_a_key_is_used_for_its_own_algorithm_only(provider: Any, make_key: Any) -> None:
    """A key that is published for RS256 verifies no PS256, though both are allowed and both are RSA."""
    signer = make_key("rsa", "RS256")
    other = make_key("other", "PS256")
    other.private = signer.private
    token = other.sign(kid="rsa")
    provider.publish(signer.jwk | {"alg": "RS256"})
    assert await opened(provider, algorithms=("RS256", "PS256")).authenticate(token) is None
    provider.publish({name: value for name, value in signer.jwk.items() if name != "alg"})
    assert await opened(provider, algorithms=("RS256", "PS256")).authenticate(token) == ALICE


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"iss": ["https://id.example"]},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other", "another"]},
        {"aud": "kvcore "},
        {"exp": None},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": math.inf},
        {"exp": math.nan},
        {"exp": 10**400},
        {"exp": NOW - 11},
        {"nbf": NOW + 11},
        {"nbf": math.nan},
        {"iat": NOW + 11},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "a" * 256},
        {"sub": 7},
    ],
    ids=str,
)
async def test_a_claim_that_is_wrong_makes_a_token_none(provider: Any, key: Any, claims: dict[str, Any]) -> None:
    """Issuer, audience, times and name must be there, right, and of the right form, under whatever good signature."""
    header = part({"alg": "ES256", "kid": "one"})
    whole = {**json.loads(base64.urlsafe_b64decode(claims_of(key.sign()) + "==")), **claims}
    signed = f"{header}.{part({name: value for name, value in whole.items() if value is not None})}"
    token = f"{signed}.{part(key_signature(key, signed))}"
    assert await opened(provider).authenticate(token) is None


def key_signature(key: Any, signed: str) -> bytes:
    """Return what the key's algorithm signs, whatever stands in it: the library would refuse to."""
    made: bytes = get_default_algorithms()[key.algorithm].sign(signed.encode(), key.private)
    return made


@pytest.mark.parametrize("claims", [{"aud": ["other", "kvcore"]}, {"exp": NOW - 9}, {"nbf": NOW + 9}, {"nbf": None}])
async def test_a_claim_that_is_right_is_taken(provider: Any, key: Any, claims: dict[str, Any]) -> None:
    """One of several audiences is enough, and clocks may be apart by the leeway."""
    assert await opened(provider).authenticate(key.sign(claims)) == ALICE


async def test_a_token_that_was_taken_expires(provider: Any, key: Any) -> None:
    """What is remembered of a token ends with it."""
    authenticator = opened(provider, leeway_s=0)
    token = key.sign({"exp": NOW + 5})
    assert await authenticator.authenticate(token) == ALICE
    provider.clock.now = NOW + 5
    assert await authenticator.authenticate(token) is None


@pytest.mark.parametrize("header", [{"kid": "two"}, {"kid": ""}, {"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}])
async def test_a_header_that_is_not_understood_makes_a_token_none(
    provider: Any, key: Any, header: dict[str, Any]
) -> None:
    """An unknown key, and extensions that must be understood, are refused."""
    head = part({"alg": "ES256", "kid": "one", **header})
    signed = f"{head}.{claims_of(key.sign())}"
    assert await opened(provider).authenticate(f"{signed}.{part(key_signature(key, signed))}") is None


async def test_a_token_without_the_id_of_its_key_needs_there_to_be_one_key(provider: Any, make_key: Any) -> None:
    """With several keys it is not tried which one fits."""
    one, two = make_key("one"), make_key("two")
    token = one.sign(kid=None)
    provider.publish(one.jwk)
    assert await opened(provider).authenticate(token) == ALICE
    provider.publish(one.jwk, two.jwk)
    assert await opened(provider).authenticate(token) is None


async def test_a_token_is_written_in_one_way(provider: Any, key: Any) -> None:
    """The last character of a signature has spare bits: with others in them it is another text, and refused."""
    token = key.sign()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + letters[letters.index(token[-1]) + 1]
    assert base64.urlsafe_b64decode(other.split(".")[2] + "==") == base64.urlsafe_b64decode(token.split(".")[2] + "==")
    assert await opened(provider).authenticate(other) is None


async def test_a_huge_token_is_refused(provider: Any, key: Any) -> None:
    """Beyond 8,192 characters nothing is verified, however good the signature is."""
    authenticator = opened(provider)
    assert await authenticator.authenticate(key.sign({"pad": "x" * 5_000})) == ALICE
    assert await authenticator.authenticate(key.sign({"pad": "x" * 7_000})) is None


async def test_deep_claims_are_refused_and_not_a_fault(provider: Any, key: Any) -> None:
    """Claims that no parser follows to their end make a token none."""
    signed = f"{part({'alg': 'ES256', 'kid': 'one'})}.{part(b'[' * 3_000)}"
    assert await opened(provider).authenticate(f"{signed}.{part(key_signature(key, signed))}") is None


@pytest.mark.parametrize(
    ("settings", "claims", "scopes", "prefixes"),
    [
        ({}, {"scope": "read admin"}, {"read", "admin"}, ("",)),
        ({}, {"scope": ["write", "other", 1]}, {"write"}, ("",)),
        ({}, {"scope": None}, set(), ("",)),
        ({}, {"scope": {"read": True}}, set(), ("",)),
        ({}, {"scope": "readwrite READ"}, set(), ("",)),
        ({"scope_prefix": "kv:"}, {"scope": "kv:read write"}, {"read"}, ("",)),
        ({"scope_claim": "roles"}, {"scope": "read", "roles": ["write"]}, {"write"}, ("",)),
        ({"prefix_claim": "keys"}, {"keys": ["a/", "b/", 1]}, {"read", "write"}, ("a/", "b/")),
        ({"prefix_claim": "keys"}, {"keys": "a/"}, {"read", "write"}, ("a/",)),
        ({"prefix_claim": "keys"}, {}, {"read", "write"}, ()),
    ],
)
async def test_claims_say_what_a_token_allows(
    provider: Any,
    key: Any,
    settings: dict[str, Any],
    claims: dict[str, Any],
    scopes: set[Any],
    prefixes: tuple[str, ...],
) -> None:
    """Scopes and prefixes come from the claims that are set; what is not understood, or missing, allows nothing."""
    found = await opened(provider, **settings).authenticate(key.sign(claims))
    assert found == Grant("alice", frozenset(scopes), prefixes)


async def test_the_name_can_be_another_claim(provider: Any, key: Any) -> None:
    """What a provider has for people to read may stand in logs instead of `sub`."""
    found = await opened(provider, name_claim="email").authenticate(key.sign({"email": "a@b.example"}))
    assert found is not None
    assert found.name == "a@b.example"


async def test_keys_are_rotated_without_a_restart(provider: Any, make_key: Any) -> None:
    """A new key is taken within a second, and a token of the old one, remembered or not, refused once that is gone."""
    old, new = make_key("one"), make_key("two")
    provider.publish(old.jwk)
    authenticator = opened(provider)
    assert await authenticator.authenticate(old.sign()) == ALICE
    provider.publish(old.jwk, new.jwk)
    provider.clock.now += 1
    assert await authenticator.authenticate(new.sign()) == ALICE
    provider.publish(new.jwk)
    provider.clock.now += 1
    token = old.sign()
    assert await authenticator.authenticate(token) is None
    assert await authenticator.authenticate(new.sign()) == ALICE


async def test_a_token_that_was_taken_is_refused_when_its_key_is_gone(provider: Any, make_key: Any) -> None:
    """Nothing that is remembered outlives the key that verified it."""
    old, new = make_key("one"), make_key("two")
    provider.publish(old.jwk)
    authenticator = opened(provider)
    token = old.sign()
    assert await authenticator.authenticate(token) == ALICE
    provider.publish(new.jwk)
    provider.clock.now += 1
    assert await authenticator.authenticate(token) is None


async def test_no_more_tokens_are_remembered_than_there_is_room_for(provider: Any, key: Any, monkeypatch: Any) -> None:
    """Whoever has many good tokens takes up no more memory, and all of them are taken."""
    monkeypatch.setattr("kvcore_auth_jwt.authenticator._REMEMBERED", 3)
    authenticator = opened(provider)
    tokens = [key.sign({"jti": str(number)}) for number in range(5)]
    for token in [*tokens, *tokens]:
        assert await authenticator.authenticate(token) == ALICE
    assert len(authenticator._verified) == 3


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', '{"keys": [{"kid": "a"}]}', '{"keys": []}', "[" * 100_000],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_no_key_set_is_refused(provider: Any, text: str) -> None:
    """A node does not start with keys that it cannot use."""
    provider.file.write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.json"):
        opened(provider)


async def test_a_file_that_breaks_leaves_the_keys_in_force(
    provider: Any, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad download locks nobody out, and the log says it once."""
    authenticator = opened(provider)
    provider.file.write_text('{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "one"}]}')
    for _ in range(3):
        provider.clock.now += 1
        assert await authenticator.authenticate(key.sign()) == ALICE
    (record,) = caplog.records
    assert str(provider.file) in record.message


async def test_the_last_key_can_be_taken_out(provider: Any, key: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A key set without keys lets nobody in, not even who was let in before, until there is a key again."""
    authenticator = opened(provider)
    assert await authenticator.authenticate(key.sign()) == ALICE
    provider.publish()
    provider.clock.now += 1
    for token in (key.sign(), key.sign(kid=None)):
        assert await authenticator.authenticate(token) is None
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    provider.publish(key.jwk)
    provider.clock.now += 1
    assert await authenticator.authenticate(key.sign()) == ALICE


@pytest.mark.parametrize("harm", ["not JSON", None], ids=["broken", "vanished"])
async def test_a_file_that_breaks_while_a_node_runs_is_counted(
    provider: Any, key: Any, monkeypatch: pytest.MonkeyPatch, harm: str | None
) -> None:
    """Each change of that kind once, since a key that was withdrawn by it is still in force."""
    monkeypatch.setattr("kvcore.reloading._INTERVAL_S", 0.0)
    plugins = load_plugins()
    needed = {"keys": str(provider.file), "issuer": "https://id.example", "audience": "kvcore"}
    flags = {"profile": "memory", "auth.mode": "jwt"} | {f"auth.jwt.{name}": value for name, value in needed.items()}
    token = key.sign({"exp": 4_000_000_000, "nbf": None, "iat": None})
    async with open_node(resolve(plugins, environment={}, flags=flags), plugins) as node:
        assert node.authenticator is not None
        assert await node.authenticator.authenticate(token) == ALICE
        assert node.metrics.registry.get_sample_value("kvcore_auth_file_errors_total") == 0
        if harm is None:
            provider.file.unlink()
        else:
            provider.file.write_text(harm)
        for _ in range(3):
            assert await node.authenticator.authenticate(token) == ALICE
        assert node.metrics.registry.get_sample_value("kvcore_auth_file_errors_total") == 1


@pytest.mark.parametrize(
    "harm",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "ES384"},
        {"crv": "secp256k1"},
        {"kty": "oct", "k": "AAAA"},
        {"d": "AA"},
    ],
    ids=str,
)
def test_a_key_for_something_else_is_passed_over(provider: Any, key: Any, harm: dict[str, Any]) -> None:
    """Keys for encryption, for other algorithms, with a shared secret, and private keys, verify nothing."""
    provider.publish(key.jwk | harm)
    with pytest.raises(SettingsError, match="no key for"):
        opened(provider)


def test_a_weak_key_is_passed_over(provider: Any, make_key: Any) -> None:
    """An RSA key of 1,024 bits can be broken."""
    provider.publish(make_key("weak", "RS256", bits=1024).jwk)
    with pytest.raises(SettingsError, match="no key for"):
        opened(provider)


@pytest.mark.parametrize("kid", [["x"], {}, 1, True])
def test_an_id_that_is_no_text_is_refused(provider: Any, key: Any, kid: Any) -> None:
    """It is a fault of the file, which is told and counted as such."""
    provider.publish(key.jwk | {"kid": kid})
    with pytest.raises(SettingsError, match="not a sound JWK Set"):
        opened(provider)


def test_two_keys_of_one_id_are_refused(provider: Any, make_key: Any) -> None:
    """It is not tried which of them fits."""
    provider.publish(make_key("one").jwk, make_key("two").jwk | {"kid": "one"})
    with pytest.raises(SettingsError, match="two keys"):
        opened(provider)


def test_it_is_chosen_and_set_like_a_backend(provider: Any, key: Any, tmp_path: Path) -> None:
    """`auth.mode = "jwt"` takes the settings from `[auth.jwt]`, checks them, and says what is missing."""
    plugins = load_plugins()
    needed = {"keys": str(provider.file), "issuer": "https://id.example", "audience": "kvcore"}
    flags = {"profile": "memory", "auth.mode": "jwt"} | {f"auth.jwt.{name}": value for name, value in needed.items()}
    resolved = resolve(plugins, environment={}, flags=flags)
    assert resolved.flat()["auth.jwt.issuer"] == "https://id.example"
    for name in needed:
        with pytest.raises(SettingsError, match=rf"auth\.jwt: .*{name}"):
            resolve(
                plugins,
                environment={},
                flags={path: text for path, text in flags.items() if path != f"auth.jwt.{name}"},
            )
    with pytest.raises(SettingsError, match=r"auth\.jwt\.algorithms"):
        resolve(plugins, environment={}, flags=flags | {"auth.jwt.algorithms": '["HS256"]'})
