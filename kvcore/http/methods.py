"""Which methods a path knows: those of its handlers, `HEAD` where `GET` is, and `OPTIONS`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from litestar.types import HTTPScope, Message, Send

from kvcore.http.answers import Answer
from kvcore.http.problems import problem

__all__ = ("as_options", "method_not_allowed")

_NO_METHOD: Final[Any] = "*"
"""A method that nothing knows, and that no parser of HTTP lets through (Litestar's type has all others)."""


def method_not_allowed(methods: Iterable[str]) -> Answer:
    """Return the answer to a method that a path has no handler for, given those that it has one for."""
    known = {*methods, "OPTIONS"}
    if "GET" in known:
        known.add("HEAD")
    allow = ", ".join(sorted(known))
    return problem("method-not-allowed", f"this path knows {allow}", [(b"allow", allow.encode())])


def as_options(scope: HTTPScope, send: Send) -> tuple[HTTPScope, Send]:
    """Return how to ask for, and to send, the answer to `OPTIONS`: what a method that nothing knows is refused with.

    Litestar's own knows the methods of one of the handlers of a path only.
    """
    is_known = False

    async def send_allowed(message: Message) -> None:
        nonlocal is_known
        if message["type"] == "http.response.start":
            is_known = message["status"] == 405
            if is_known:
                message["status"] = 204
                message["headers"] = [pair for pair in message["headers"] if pair[0] == b"allow"]
        elif is_known and message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return scope | {"method": _NO_METHOD}, send_allowed
