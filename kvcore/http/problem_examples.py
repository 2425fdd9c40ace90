"""An example of each problem that an operation can answer with, made as the answers are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kvcore.errors import (
    ClockSkewError,
    ConditionFailedError,
    ForbiddenError,
    InvalidKeyError,
    KeyTooLongError,
    KvcoreError,
    OverloadedError,
    RateLimitedError,
    RejectedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    ValueTooLargeError,
    VersionNotReachedError,
)
from kvcore.http.problems import BodyTooLargeError, InvalidRequestError, problem, problem_of
from kvcore.model import Version
from kvcore.problem_types import ProblemName

__all__ = ("EXAMPLE_VERSION", "example_of")

EXAMPLE_VERSION: Final = "019ab3f2c4d80000a1b2c3d4"

_ERRORS: Final[Mapping[ProblemName, KvcoreError]] = {
    "invalid-request": InvalidRequestError("a write takes one condition: If-Match or If-None-Match"),
    "invalid-json": InvalidRequestError("a member of an object is given twice", problem="invalid-json"),
    "invalid-key": InvalidKeyError("a key is 1 byte or longer and holds no NUL"),
    "rejected-by-store": RejectedError("the store refuses this write: the row is too large"),
    "unauthenticated": UnauthenticatedError(
        "this needs a token that is known here: send one as `Authorization: Bearer …`"
    ),
    "forbidden": ForbiddenError(
        "the token does not allow this; ask for one with the scope and the key prefix that it needs"
    ),
    "condition-failed": ConditionFailedError(
        f"the key is not as the condition wants it: it has version {EXAMPLE_VERSION}", version=Version(EXAMPLE_VERSION)
    ),
    "body-too-large": BodyTooLargeError(8_388_608, problem="body-too-large"),
    "value-too-large": ValueTooLargeError(
        "the value has 1048577 bytes, and at most 1048576 are allowed", limit_bytes=1_048_576
    ),
    "key-too-long": KeyTooLongError("the key has 70000 bytes, and at most 65536 are allowed", limit_bytes=65_536),
    "unknown-host": InvalidRequestError(
        "this node is not known by the name in Host: it asks nobody for a token, so it takes only localhost, addresses"
        " and the names in http.hosts",
        problem="unknown-host",
    ),
    "unsupported-encoding": InvalidRequestError(
        "the body is sent with Content-Encoding gzip: send it plain", problem="unsupported-encoding"
    ),
    "unsupported-media-type": InvalidRequestError(
        "send it with Content-Type: application/json", problem="unsupported-media-type"
    ),
    "rate-limited": RateLimitedError("this token sends too many requests"),
    "unsupported": UnsupportedError("BoundedStore cannot list its keys; choose a store with that ability"),
    "unavailable": UnavailableError("the write got no answer in time; sending it again is safe"),
    "overloaded": OverloadedError("1000 requests are being served already: try again"),
    "version-not-reached": VersionNotReachedError(
        f"the key has not reached version {EXAMPLE_VERSION} within 0.5 s: try again, or wait longer"
    ),
    "clock-skew": ClockSkewError(
        "the clock of this node is 72.5 s behind a version that it has seen, and at most 60 s are allowed"
        " (clock.max_ahead_s): set the clocks right, by NTP"
    ),
}
_DETAILS: Final[Mapping[ProblemName, str]] = {
    "key-not-found": "the key does not exist",
    "no-such-dead-letter": "the queue lists no dead letter of this id",
    "not-json": "the value has the media type image/png, not application/json: read it as /kv/{key}",
    "request-timeout": "the body of the request takes too long",
    "internal": "a fault of this service; its log has it under 7f3c1a525c0e4f0a9a530b7c2f6d1e11",
}
"""Of those that are no error of the core's."""


def example_of(name: ProblemName) -> dict[str, Any]:
    """Return a problem document of this type."""
    if name == "draining":
        answer = problem(name, "this process is stopping", outcome="not-applied")
    elif name in _DETAILS:
        answer = problem(name, _DETAILS[name])
    else:
        answer = problem_of(_ERRORS[name])
    document: dict[str, Any] = msgspec.json.decode(answer.body)
    return document
