"""Every error answer: RFC 9457 problem documents, each of a type that is listed here and documented in docs/problems.md."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import msgspec
from litestar import Request

from kvcore.errors import (
    ConditionFailedError,
    KeyTooLongError,
    KvcoreError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
    ValueTooLargeError,
)
from kvcore.http.answers import Answer, Headers
from kvcore.http.subject import key_of
from kvcore.logs import about
from kvcore.problem_types import TYPES_OF_ERRORS, ProblemName, uri_of
from kvcore.tracing import ORIGIN

__all__ = (
    "PROBLEMS",
    "BodyTooLargeError",
    "InvalidRequestError",
    "ProblemType",
    "by_fault",
    "problem",
    "problem_body",
    "problem_of",
)

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = b"application/problem+json"


class ProblemType(msgspec.Struct, frozen=True):
    """One type of problem: the last part of its URI, its status, and what it means and what to do."""

    name: ProblemName
    status: int
    title: str
    meaning: str

    @property
    def uri(self) -> str:
        """The stable reference that the answer carries as `type`."""
        return uri_of(self.name)


def _types(*types: ProblemType) -> dict[str, ProblemType]:
    return {type_.name: type_ for type_ in types}


PROBLEMS: Final = _types(
    ProblemType("malformed-http", 400, "Malformed HTTP", "What was sent is not HTTP/1.1. The connection is closed."),
    ProblemType(
        "invalid-request",
        400,
        "Invalid request",
        "A parameter, header or member is missing, unknown, repeated or of a wrong type or value; `detail` names it.",
    ),
    ProblemType(
        "invalid-json",
        400,
        "Invalid JSON",
        "The body is not JSON in UTF-8 as kvcore takes it: complete, at most 64 levels deep, each member of an object once,"
        " numbers within the range of a double.",
    ),
    ProblemType("invalid-key", 400, "Invalid key", "A key is 1 byte or longer, in UTF-8, and holds no NUL."),
    ProblemType("rejected-by-store", 400, "Rejected by the store", "The store refuses this write and always will."),
    ProblemType(
        "unauthenticated",
        401,
        "Unauthenticated",
        "This needs a token: `Authorization: Bearer …`. There is none, or it is not known here: which of these is not told.",
    ),
    ProblemType(
        "forbidden", 403, "Forbidden", "The token does not have the scope, or not the key prefix, that this needs."
    ),
    ProblemType("key-not-found", 404, "Key not found", "The key does not exist: never written, deleted or expired."),
    ProblemType(
        "no-such-dead-letter",
        404,
        "No such dead letter",
        "The queue does not have it (any more), or not among the 1,000 that it lists first.",
    ),
    ProblemType("no-such-resource", 404, "No such resource", "There is nothing at this path."),
    ProblemType("method-not-allowed", 405, "Method not allowed", "`Allow` lists the methods of this path."),
    ProblemType(
        "not-json",
        406,
        "Not a JSON value",
        "The value was not written as JSON, and this form of the API shows JSON only: read it as `/kv/{key}`.",
    ),
    ProblemType(
        "request-timeout",
        408,
        "Request timeout",
        "The head or the body of the request took too long to arrive. The connection is closed.",
    ),
    ProblemType(
        "condition-failed",
        412,
        "Condition failed",
        "The key is not at the version that `If-Match` or `If-None-Match` asks for; nothing was changed. `ETag` and `version` are"
        " what it has, where it exists: read it, decide again.",
    ),
    ProblemType(
        "body-too-large",
        413,
        "Body too large",
        "The body is larger than `limit_bytes`, which is more than such a request needs. The connection is closed.",
    ),
    ProblemType("value-too-large", 413, "Value too large", "The value is larger than `limit_bytes`."),
    ProblemType("key-too-long", 414, "Key too long", "The key is longer than `limit_bytes` in UTF-8."),
    ProblemType(
        "unknown-host",
        421,
        "Unknown host",
        "The node asks nobody for a token, and then answers only under `localhost`, under addresses, and under the names in its setting"
        " `http.hosts`: so no web page can reach it under a name of its own.",
    ),
    ProblemType(
        "answer-too-large",
        413,
        "Answer too large",
        "The values that a batch reads are larger together than `limits.page_bytes`. Read this key by itself, or in another batch.",
    ),
    ProblemType(
        "unsupported-encoding", 415, "Unsupported encoding", "Send the body without `Content-Encoding`; JSON as UTF-8."
    ),
    ProblemType(
        "unsupported-media-type",
        415,
        "Unsupported media type",
        "This takes a body of `Content-Type: application/json` only.",
    ),
    ProblemType(
        "rate-limited",
        429,
        "Rate limited",
        "This token, or this address, has sent more requests than it may. Send the same again after `Retry-After`.",
    ),
    ProblemType(
        "header-too-large",
        431,
        "Header too large",
        "Request line and header fields together are too large, or too many. The connection is closed.",
    ),
    ProblemType("internal", 500, "Internal error", "A fault of kvcore. The log has it under the request id."),
    ProblemType("unsupported", 501, "Unsupported", "The backend that this node runs on cannot do this."),
    ProblemType(
        "unavailable",
        503,
        "Unavailable",
        "A tier that this needs does not serve now. Send the same again after `Retry-After`: `outcome` says whether it happened"
        " (`not-applied`: it did not; `unknown`: it may have). Sending it again is safe in both cases, but for a conditional write"
        " without `Idempotency-Key` whose outcome is unknown: read the key first.",
    ),
    ProblemType("overloaded", 503, "Overloaded", "Too many requests are waiting; this one was not begun."),
    ProblemType(
        "version-not-reached",
        503,
        "Version not reached",
        "The key has not reached `min_version` within `wait`. Nothing older is answered instead.",
    ),
    ProblemType(
        "clock-skew",
        503,
        "Clock skew",
        "The clock of this node is wrong by more than the bound; writes are refused until it is right.",
    ),
    ProblemType("draining", 503, "Not ready", "The node is starting or about to stop. Ask another one."),
)


class InvalidRequestError(RequestError):
    """A request that does not have the form that the API asks for; `problem` names the type of the answer."""

    def __init__(self, message: str, *, problem: ProblemName = "invalid-request") -> None:
        super().__init__(message)
        self.problem = problem


class BodyTooLargeError(InvalidRequestError):
    """A body that is larger than `limit_bytes`. It has not been read to its end, so its connection is closed."""

    def __init__(self, limit_bytes: int, *, problem: ProblemName) -> None:
        super().__init__(f"the body is larger than {limit_bytes} bytes", problem=problem)
        self.limit_bytes = limit_bytes


def problem_body(name: str, detail: str, **members: Any) -> bytes:
    """Return a problem document as JSON."""
    type_ = PROBLEMS[name]
    document = {"type": type_.uri, "title": type_.title, "status": type_.status, "detail": detail, **members}
    return msgspec.json.encode(document)


def problem(name: ProblemName, detail: str, headers: Headers | None = None, **members: Any) -> Answer:
    """Return a problem document as an answer."""
    body = problem_body(name, detail, **members)
    return Answer(PROBLEMS[name].status, body, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: KvcoreError) -> Answer:
    """Return the answer to an error that kvcore raised on purpose."""
    name = error.problem if isinstance(error, InvalidRequestError) else _name_of(error)
    headers: Headers = []
    members: dict[str, Any] = {}
    if isinstance(error, UnavailableError):
        members["outcome"] = error.outcome
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    elif isinstance(error, UnauthenticatedError):
        headers.append((b"www-authenticate", b'Bearer realm="kvcore"'))
    elif isinstance(error, KeyTooLongError | ValueTooLargeError | BodyTooLargeError):
        members["limit_bytes"] = error.limit_bytes
        if isinstance(error, BodyTooLargeError):
            headers.append((b"connection", b"close"))  # nobody is going to read the rest
    elif isinstance(error, ConditionFailedError) and error.version is not None:
        members["version"] = error.version  # in a batch there is no ETag
        headers.append((b"etag", b'"%s"' % error.version.encode()))
    return problem(name, str(error), headers, **members)


def by_fault(request: Request[Any, Any, Any], error: Exception) -> Any:
    """Return the answer to what must not happen, and log it. Of a type that Litestar takes for one of its own."""
    request_id = ORIGIN.get().request_id
    logger.error("a request failed by a fault", exc_info=error, extra=about(key=key_of(request.scope)))
    return problem("internal", f"a fault of this service; its log has it under {request_id}")


def _name_of(error: KvcoreError) -> ProblemName:
    return next((name for type_, name in TYPES_OF_ERRORS if isinstance(error, type_)), "internal")
