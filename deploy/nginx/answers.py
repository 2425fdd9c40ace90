"""The answers that NGINX gives itself: problem documents of kvcore's own types, and a page for people at maintenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from kvcore.http.problems import MEDIA_TYPE, PROBLEMS, problem_body
from kvcore.http.protocol import MAX_HEAD_BYTES

__all__ = ("locations", "too_large")

_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>Maintenance</title><h1>Maintenance</h1><p>This service is being worked on. Please come back later.</p></html>"
)
_SOON: Final = "Retry-After 1"
_LATER: Final = "Retry-After 30"


class _Problem(NamedTuple):
    """A problem document, and the location that answers with it."""

    location: str
    name: str
    detail: str
    headers: tuple[str, ...] = ()
    outcome: str = ""


_PROBLEMS: Final = (
    _Problem("@unavailable", "unavailable", "no node has answered: send the same again", (_SOON,), "$kvcore_outcome"),
    _Problem(
        "@overloaded",
        "overloaded",
        "this address has as many requests under way as it may: send the same again",
        (_SOON,),
        "not-applied",
    ),
    _Problem(
        "@rate_limited",
        "rate-limited",
        "this address has sent more requests than it may: send the same again",
        (_SOON,),
        "not-applied",
    ),
    _Problem(
        "@maintenance_problem",
        "unavailable",
        "the service is under maintenance: send the same again later",
        (_LATER,),
        "not-applied",
    ),
    _Problem("@no_such_resource", "no-such-resource", "there is nothing at this path, or not for this address"),
    _Problem("@internal", "internal", "a fault of the proxy; its log has it under the request id"),
    _Problem(
        "= /.kvcore/malformed-http",
        "malformed-http",
        "what was sent is not a request that this port takes; a path may also have broken percent-encoding, %00, or .. that lead out",
    ),
    _Problem(
        "= /.kvcore/header-too-large",
        "header-too-large",
        f"the head of the request is larger than {MAX_HEAD_BYTES} bytes",
    ),
    _Problem(
        "@method_not_allowed",
        "method-not-allowed",
        "no path knows this method",
        ('Allow "GET, HEAD, PUT, POST, DELETE, OPTIONS"',),
    ),
)


def too_large(name: str, limit_bytes: int) -> str:
    """Return the document for a body of more than `limit_bytes`, as a string of NGINX's configuration."""
    what = "value" if name == "value-too-large" else "body"
    return _quoted(problem_body(name, f"the {what} is larger than {limit_bytes} bytes", limit_bytes=limit_bytes))


def locations(always: Iterable[str]) -> str:
    """Return the locations of all answers; each answer has the header fields `always`."""
    always = ("X-Request-Id $request_id", *always)
    media_type = MEDIA_TYPE.decode()
    blocks = [
        _location(one.location, media_type, PROBLEMS[one.name].status, _document(one), (*always, *one.headers))
        for one in _PROBLEMS
    ]
    blocks.append(_location("@too_large", media_type, 413, "$kvcore_too_large", always))
    blocks.append(_location("@maintenance_page", "text/html", 503, _quoted(_PAGE.encode()), (*always, _LATER)))
    return "\n".join(blocks)


def _document(problem: _Problem) -> str:
    members: dict[str, Any] = {"outcome": problem.outcome} if problem.outcome else {}
    return _quoted(problem_body(problem.name, problem.detail, **members))


def _location(place: str, media_type: str, status: int, body: str, headers: Iterable[str]) -> str:
    return "\n".join(_location_lines(place, media_type, status, body, headers))


def _location_lines(place: str, media_type: str, status: int, body: str, headers: Iterable[str]) -> Iterator[str]:
    yield f"location {place} {{"
    if not place.startswith("@"):
        yield "    internal;"
    yield f"    default_type {media_type};"
    for header in headers:
        yield f"    add_header {header} always;"
    yield f"    return {status} {body};"
    yield "}"


def _quoted(text: bytes) -> str:
    """Return text as a string of NGINX's configuration. A variable in it stays one: there is no way to write a `$`."""
    escaped = text.decode().replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
