"""The types of problems that a node answers with (RFC 9457), and the errors that they stand for, on both sides of the wire."""

from __future__ import annotations

from typing import Final, Literal

from kvcore.errors import (
    CircuitOpenError,
    ClockSkewError,
    ConditionFailedError,
    ForbiddenError,
    InvalidKeyError,
    KeyTooLongError,
    KvcoreError,
    OverloadedError,
    RateLimitedError,
    RejectedError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    ValueTooLargeError,
    VersionNotReachedError,
)

__all__ = ("TYPES_OF_ERRORS", "ProblemName", "uri_of")

ProblemName = Literal[
    "malformed-http",
    "invalid-request",
    "invalid-json",
    "invalid-key",
    "rejected-by-store",
    "unauthenticated",
    "forbidden",
    "key-not-found",
    "no-such-dead-letter",
    "no-such-resource",
    "method-not-allowed",
    "not-json",
    "request-timeout",
    "condition-failed",
    "body-too-large",
    "value-too-large",
    "key-too-long",
    "unknown-host",
    "answer-too-large",
    "unsupported-encoding",
    "unsupported-media-type",
    "rate-limited",
    "header-too-large",
    "internal",
    "unsupported",
    "unavailable",
    "overloaded",
    "version-not-reached",
    "clock-skew",
    "draining",
]

TYPES_OF_ERRORS: Final[tuple[tuple[type[KvcoreError], ProblemName], ...]] = (
    (InvalidKeyError, "invalid-key"),
    (KeyTooLongError, "key-too-long"),
    (ValueTooLargeError, "value-too-large"),
    (RejectedError, "rejected-by-store"),
    (UnsupportedError, "unsupported"),
    (RequestError, "invalid-request"),
    (UnauthenticatedError, "unauthenticated"),
    (ForbiddenError, "forbidden"),
    (ConditionFailedError, "condition-failed"),
    (RateLimitedError, "rate-limited"),
    (OverloadedError, "overloaded"),
    (CircuitOpenError, "unavailable"),
    (VersionNotReachedError, "version-not-reached"),
    (ClockSkewError, "clock-skew"),
    (UnavailableError, "unavailable"),
)
"""The most specific error first. Where two have one type, a client raises the last of them, which is the more general one."""


def uri_of(name: ProblemName) -> str:
    """Return the stable reference that an answer carries as `type`."""
    return f"/problems/{name}"
