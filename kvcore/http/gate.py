"""Who is let in: finds the token of a request, and what it allows."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any, Final, Literal, NoReturn

from litestar.types import HTTPScope
from litestar.utils.path import normalize_path

from kvcore.access import ANYBODY, STRANGER, Authenticator, Grant, Scope
from kvcore.authentication import is_open_by_default
from kvcore.errors import KvcoreError, UnauthenticatedError, UnavailableError
from kvcore.http.problems import InvalidRequestError
from kvcore.http.subject import take_note_of_key
from kvcore.runtime import Instance, Node
from kvcore.settings import AuthSettings

__all__ = ("Gate", "gate_of", "grant_for_key", "grant_of")

logger = logging.getLogger(__name__)

Rule = Literal["open", "token", "admin", "whole"]
"""What a path needs: nothing; any token that is known; one with the scope admin and for all keys, which dead letters and
restored entries may have; one that allows everything in a scope."""

_GRANT: Final = "kvcore.grant"
_MAX_CHARS: Final = 8192
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
_REFUSAL: Final = "this needs a token that is known here: send one as `Authorization: Bearer …`"
_PORT: Final = re.compile(r":[0-9]*$")
_MAX_HOST_BYTES: Final = 300
_KNOWN_HOSTS: Final = 1000
_READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Gate:
    """Asks every request for its token, where tokens are asked for.

    What is open is answered to everybody, whatever they send. Of the other paths, those of keys check each key by
    themselves, and those that the gate does not know, which plugins give, need a token for all keys.

    `names` are those by which the node may be asked, besides localhost and addresses; None: any. They matter to a node
    that asks for no tokens: a web page can have its own name lead to 127.0.0.1 (DNS rebinding) and would then be taken by
    a browser for what it asks there.
    """

    def __init__(
        self, auth: AuthSettings, authenticator: Authenticator | None, names: Iterable[str] | None = None
    ) -> None:
        self._authenticator = authenticator
        self._rules = _rules(auth)
        self._names = None if names is None else {"localhost", *(name.lower() for name in names)}
        self._known_hosts: set[bytes] = set()

    async def admit(self, scope: HTTPScope) -> Grant:
        """Return what a request may do, and leave it in its scope.

        Raises:
            InvalidRequestError: its `Host` is missing or repeated, or names what this node is not.
            UnauthenticatedError: it needs a token, and has none that is known.
            ForbiddenError: its token does not allow anything at this path.
            UnavailableError: it cannot be told now.
        """
        host: bytes | None = None
        given: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise InvalidRequestError("the request has more than one Host")
                host = value
            elif name == b"authorization":
                given.append(value)
        if host is None:
            if scope["http_version"] != "1.0":
                raise InvalidRequestError("the request has no Host")
        elif self._names is not None and host not in self._known_hosts:
            self._check_host(host, self._names)
        grant = ANYBODY if self._authenticator is None else await self._grant(self._authenticator, scope, given)
        scope[_GRANT] = grant  # type: ignore[typeddict-unknown-key]  # a scope takes what applications leave there
        return grant

    async def _grant(self, authenticator: Authenticator, scope: HTTPScope, given: list[bytes]) -> Grant:
        rule = self._rule(scope["path"])
        if rule == "open":
            return STRANGER
        try:
            grant = await authenticator.authenticate(_token_in(given))
        except KvcoreError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of a plugin
            _tell_fault(error)
        if grant is None:
            raise UnauthenticatedError(_REFUSAL)
        if rule == "admin":
            grant.check("admin", "")
        elif rule == "whole":
            needed: Scope = "read" if scope["method"] in _READS else "write"
            grant.check(needed, "")
        return grant

    def _rule(self, path: str) -> Rule:
        """Return what a path needs, which is read as Litestar reads it: any number of slashes are one."""
        rule = self._rule_as_it_stands(path)
        return rule or self._rule_as_it_stands(normalize_path(path)) or "whole"

    def _rule_as_it_stands(self, path: str) -> Rule | None:
        return self._rules.get(path) or self._rules.get(path[: path.find("/", 1) + 1])

    def _check_host(self, host: bytes, names: Collection[str]) -> None:
        name = _PORT.sub("", host.decode("latin-1").lower())
        if len(host) > _MAX_HOST_BYTES or not (name in names or _is_address(name)):
            raise InvalidRequestError(
                "this node is not known by the name in Host: it asks nobody for a token, so it takes only localhost, addresses"
                " and the names in http.hosts",
                problem="unknown-host",
            )
        if len(self._known_hosts) < _KNOWN_HOSTS:
            self._known_hosts.add(host)


def gate_of(instance: Instance) -> Gate:
    """Return the gate of a node or worker. A worker has nothing that a web page could ask it for."""
    names = None
    if isinstance(instance, Node) and is_open_by_default(instance.resolved):
        names = instance.settings.http.hosts
    return Gate(instance.settings.auth, instance.authenticator, names)


def grant_of(scope: Any) -> Grant:
    """Return what a request may do, as the gate has left it in its scope."""
    grant: Grant = scope[_GRANT]
    return grant


def grant_for_key(scope: Any, needed: Scope, key: str) -> Grant:
    """Return what a request may do, if it may read, or write, this key, which is the one that it is about.

    Raises:
        ForbiddenError: it may not.
    """
    take_note_of_key(scope, key)
    grant = grant_of(scope)
    grant.check(needed, key)
    return grant


def _rules(auth: AuthSettings) -> dict[str, Rule]:
    """Return what paths need. A path that ends with a slash stands for all that go on behind it."""

    def unless(is_open: bool) -> Rule:
        return "open" if is_open else "token"

    return {
        "/": unless(auth.open_console),
        "/console/": unless(auth.open_console),
        "/health": unless(auth.open_health),
        "/health/live": "open",
        "/health/ready": "open",
        "/metrics": unless(auth.open_metrics),
        "/docs": unless(auth.open_docs),
        "/docs/": unless(auth.open_docs),
        "/kv": "token",
        "/kv/": "token",
        "/keys": "token",
        "/batch": "token",
        "/cache/stats": "token",
        "/admin": "admin",
        "/admin/": "admin",
    }


def _is_address(name: str) -> bool:
    try:
        ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


def _token_in(given: list[bytes]) -> str:
    """Return the token of the `Authorization` fields of a request; empty: there is none, or none of the right form."""
    found = _BEARER.fullmatch(given[0]) if len(given) == 1 and len(given[0]) <= _MAX_CHARS else None
    return found[1].decode() if found else ""


def _tell_fault(error: Exception) -> NoReturn:
    # Where it happened, and not what it says: there may be a token in that.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the authenticator has failed with %s\n%s", type(error).__name__, where)
    raise UnavailableError("tokens cannot be checked now", outcome="not-applied") from None
