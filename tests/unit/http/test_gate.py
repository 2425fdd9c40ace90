"""Who is let in, and where."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest

from kvcore.access import ANYBODY, Grant, Scope
from kvcore.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from kvcore.http.gate import Gate, grant_of
from kvcore.http.problems import InvalidRequestError
from kvcore.settings import AuthSettings

Headers = Iterable[tuple[bytes, bytes]]
HOST = (b"host", b"127.0.0.1:8000")
TOKEN = (b"authorization", b"Bearer good")


class FakeAuthenticator:
    """Knows one token, "good", and counts how often it is asked."""

    def __init__(self, *scopes: Scope, prefixes: tuple[str, ...] = ("",), fault: Exception | None = None) -> None:
        self.grant = Grant("one", frozenset(scopes or ("read", "write", "admin")), prefixes)
        self.asked: list[str] = []
        self.fault = fault

    async def authenticate(self, token: str) -> Grant | None:
        self.asked.append(token)
        if self.fault is not None:
            raise self.fault
        return self.grant if token == "good" else None  # noqa: S105 - what a test takes for a token


def request(path: str, headers: Headers = (HOST, TOKEN), method: str = "GET", version: str = "1.1") -> Any:
    """Return the scope of a request."""
    return {"type": "http", "path": path, "method": method, "http_version": version, "headers": list(headers)}


async def admitted(gate: Gate, scope: Any) -> Grant:
    """Let a request in, and return what it may do: as returned, and as left for the handlers."""
    grant = await gate.admit(scope)
    assert grant_of(scope) is grant
    return grant


def closed(**auth: Any) -> AuthSettings:
    """Return settings with everything closed that can be."""
    return AuthSettings(**({f"open_{name}": False for name in ("health", "metrics", "docs", "console")} | auth))


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [b"Bearer good", b"bearer good", b"BEARER   good"])
async def test_a_token_is_found(field: bytes) -> None:
    """The scheme is written in any case, with any number of spaces behind it."""
    authenticator = FakeAuthenticator()
    gate = Gate(AuthSettings(), authenticator)
    assert await admitted(gate, request("/kv", [HOST, (b"authorization", field)])) is authenticator.grant


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b""],
        [b"good"],
        [b"Bearer"],
        [b"Bearer "],
        [b"Bearer\tgood"],
        [b"Bearer good good"],
        [b"Bearer good,"],
        [b"Bearer good\n"],
        [b"Bearer g\xc3\xb6\xc3\xb6d"],
        [b"Basic good"],
        [b"BearerX good"],
        [b"Bearer good", b"Bearer good"],
        [b"Bearer " + b"g" * 8192],
    ],
)
async def test_what_is_no_token_is_refused_like_a_wrong_one(fields: list[bytes]) -> None:
    """Missing, malformed, repeated, overlong: the authenticator is asked all the same, and the refusal says the same."""
    authenticator = FakeAuthenticator()
    gate = Gate(AuthSettings(), authenticator)
    refusals = set()
    for sent in (fields, [b"Bearer wrong"]):
        with pytest.raises(UnauthenticatedError) as refusal:
            await gate.admit(request("/kv", [HOST, *((b"authorization", field) for field in sent)]))
        refusals.add(str(refusal.value))
    assert len(refusals) == 1
    assert authenticator.asked == ["", "wrong"]


async def test_a_fault_of_the_authenticator_tells_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """What a plugin raises against its contract is answered 503 and logged without its message, which may hold the token."""
    gate = Gate(AuthSettings(), FakeAuthenticator(fault=RuntimeError("cannot parse good-token")))
    with pytest.raises(UnavailableError) as refusal:
        await gate.admit(request("/kv"))
    assert refusal.value.outcome == "not-applied"
    assert "RuntimeError" in caplog.text
    assert "authenticate" in caplog.text  # where it happened
    assert "good-token" not in caplog.text + str(refusal.value)


async def test_an_authenticator_that_cannot_tell_is_not_a_refusal() -> None:
    """Its error goes on to the client, who may try again."""
    error = UnavailableError("the provider cannot be asked", outcome="not-applied")
    with pytest.raises(UnavailableError, match="provider"):
        await Gate(AuthSettings(), FakeAuthenticator(fault=error)).admit(request("/kv"))


# --- paths ------------------------------------------------------------------------------------------------------------

OPEN_ALWAYS = ["/health/live", "/health/ready", "/health//live", "/health/live/"]
OPEN_BY_SETTING = {
    "open_health": ["/health", "/health/", "//health"],
    "open_metrics": ["/metrics", "//metrics/"],
    "open_docs": ["/docs", "/docs/", "/docs/openapi.json", "/docs/assets/a.js", "//docs//openapi.json"],
    "open_console": ["/", "//", "/console/0/main.js", "//console//0/main.js"],
}
CASES = [(setting, path) for setting, paths in OPEN_BY_SETTING.items() for path in paths]


@pytest.mark.parametrize("path", OPEN_ALWAYS)
async def test_probes_need_no_token(path: str) -> None:
    """Whoever starts and stops nodes has no token, and asks no authenticator."""
    authenticator = FakeAuthenticator()
    grant = await admitted(Gate(closed(), authenticator), request(path, [HOST]))
    assert authenticator.asked == []
    with pytest.raises(ForbiddenError):
        grant.check_scope("read")


@pytest.mark.parametrize(("setting", "path"), CASES)
async def test_what_is_open_is_one_setting_each(setting: str, path: str) -> None:
    """Open: no token is asked for, and none gives a right there. Closed: any token does, whatever it allows."""
    grant = await admitted(Gate(closed(**{setting: True}), FakeAuthenticator()), request(path, [HOST]))
    assert grant.scopes == frozenset()
    shut: dict[str, Any] = {setting: False}
    gate = Gate(AuthSettings(**shut), FakeAuthenticator("write", prefixes=("a/",)))
    await admitted(gate, request(path))
    with pytest.raises(UnauthenticatedError):
        await gate.admit(request(path, [HOST]))


@pytest.mark.parametrize("path", ["/kv", "/kv/", "/kv/a", "//kv/a", "/kv//", "/keys", "/batch", "/cache/stats"])
async def test_keys_and_statistics_need_any_token(path: str) -> None:
    """Which keys and scopes a token has is looked at where the keys are known."""
    gate = Gate(AuthSettings(), FakeAuthenticator("admin", prefixes=("a/",)))
    await admitted(gate, request(path, method="PUT"))
    with pytest.raises(UnauthenticatedError):
        await gate.admit(request(path, [HOST]))


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/cache", "//admin/cache", "/admin//cache/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_administration_needs_its_scope(path: str, method: str) -> None:
    """However the path is written, and whatever else a token allows."""
    await admitted(Gate(AuthSettings(), FakeAuthenticator("admin")), request(path, method=method))
    with pytest.raises(ForbiddenError):
        await Gate(AuthSettings(), FakeAuthenticator("read", "write")).admit(request(path, method=method))


@pytest.mark.parametrize(
    "path", ["/plugin", "/plugin/", "/kvx", "/adminx", "/docsx", "/cache", "/health/x", "/metrics/x"]
)
@pytest.mark.parametrize(("method", "needed"), [("GET", "read"), ("HEAD", "read"), ("OPTIONS", "read"), ("POST", "write"),
                                                ("DELETE", "write"), ("BREW", "write")])  # fmt: skip
async def test_other_paths_need_a_token_for_all_keys(path: str, method: str, needed: Scope) -> None:
    """Those of plugins: to look needs read, everything else write, and a token of some prefixes has neither."""
    await admitted(Gate(AuthSettings(), FakeAuthenticator(needed)), request(path, method=method))
    others: list[Scope] = [scope for scope in ("read", "write", "admin") if scope != needed]
    for lacking in (FakeAuthenticator(*others), FakeAuthenticator(needed, prefixes=("a/",))):
        with pytest.raises(ForbiddenError):
            await Gate(AuthSettings(), lacking).admit(request(path, method=method))


async def test_without_an_authenticator_everybody_may_do_everything() -> None:
    """A token that is sent all the same is not looked at."""
    for path in ("/kv", "/admin/cache", "/metrics"):
        assert await admitted(Gate(closed(), None), request(path)) is ANYBODY


def test_a_request_that_no_gate_has_seen_may_do_nothing() -> None:
    """A handler that is reached past the gate fails."""
    with pytest.raises(KeyError):
        grant_of(request("/kv"))


# --- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [None, ()])
async def test_host_is_there_once(names: tuple[str, ...] | None) -> None:
    """HTTP/1.1 wants it, and two of them would be read differently by different readers; HTTP/1.0 has none."""
    gate = Gate(AuthSettings(), None, names)
    for headers in ([], [HOST, HOST], [HOST, (b"host", b"localhost")]):
        with pytest.raises(InvalidRequestError, match="Host"):
            await gate.admit(request("/kv", headers))
    await admitted(gate, request("/kv", [], version="1.0"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "10.1.2.3:80",
        "kv.internal:8000",
    ],
)
async def test_an_open_node_is_asked_under_its_own_name(host: str) -> None:
    """localhost, addresses and the names that are set, with any port, each time."""
    gate = Gate(AuthSettings(), None, ["KV.internal"])
    for _ in range(2):
        await admitted(gate, request("/kv", [(b"host", host.encode())]))


@pytest.mark.parametrize(
    "host",
    ["", ":8000", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "kv.internal.",
     "xlocalhost", "localhost:80:80", "localhost@evil", "[::1", "[localhost]", "127.0.0.1 ", "1" * 400, "\xff"],
)  # fmt: skip
async def test_an_open_node_is_not_asked_under_a_strange_name(host: str) -> None:
    """A web page whose own name leads to 127.0.0.1 gets nothing; the answer is 421 and says why."""
    gate = Gate(AuthSettings(), None, ["kv.internal"])
    for path in ("/kv", "/health/live"):
        with pytest.raises(InvalidRequestError, match=r"http\.hosts") as refusal:
            await gate.admit(request(path, [(b"host", host.encode("latin-1"))]))
        assert refusal.value.problem == "unknown-host"


async def test_hosts_that_were_seen_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends ever new ports takes up no memory, and is served."""
    monkeypatch.setattr("kvcore.http.gate._KNOWN_HOSTS", 3)
    gate = Gate(AuthSettings(), None, ())
    for port in range(10):
        await admitted(gate, request("/kv", [(b"host", b"localhost:%d" % port)]))
    assert len(gate._known_hosts) == 3


async def test_any_name_will_do_where_tokens_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """A page under another name has no token, so the name need not be looked at."""
    caplog.set_level(logging.DEBUG)
    await admitted(Gate(AuthSettings(), FakeAuthenticator()), request("/kv", [(b"host", b"kv.example"), TOKEN]))
