"""Reading answers: into values, or into the errors of `kvcore.errors`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec

from kvcore.errors import (
    ConditionFailedError,
    Fate,
    KeyTooLongError,
    KvcoreError,
    RequestError,
    UnavailableError,
    ValueTooLargeError,
)
from kvcore.problem_types import TYPES_OF_ERRORS, uri_of

__all__ = (
    "NO_KEY",
    "Problem",
    "error_of",
    "problem_of",
    "refuse",
    "refuse_unexplained",
    "stranger",
    "understood",
    "version_of",
)

T = TypeVar("T")

PROBLEM: Final = "application/problem+json"
NO_KEY: Final = uri_of("key-not-found")

_BY_TYPE: Final[Mapping[str, type[KvcoreError]]] = {
    **{uri_of(name): error for error, name in TYPES_OF_ERRORS},
    uri_of("body-too-large"): ValueTooLargeError,  # as all that makes a body large is its values
}
_ETAG: Final = re.compile(r'(?:W/)?"([0-9a-f]{24})"')


class Problem(msgspec.Struct, frozen=True):
    """An error in the form of RFC 9457, as far as it matters here."""

    type: str
    title: str = ""
    detail: str = ""
    outcome: Fate = "unknown"
    limit_bytes: int = 0
    version: str | None = None


def version_of(answer: httpx.Response) -> str | None:
    """Return the version that the ETag names, None where there is none."""
    found = _ETAG.fullmatch(answer.headers.get("etag", ""))
    return found and found[1]


def understood(answer: httpx.Response, into: type[T]) -> T:
    """Return an answer's JSON body.

    Raises:
        RequestError: something else than a node has answered.
    """
    try:
        return msgspec.json.decode(answer.content, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise stranger(answer) from None


def problem_of(answer: httpx.Response) -> Problem:
    """Return the problem that is answered.

    Raises:
        RequestError, UnavailableError: something else than a node has answered; a proxy that reaches none, say.
    """
    if str(answer.headers.get("content-type", "")).partition(";")[0] != PROBLEM:
        raise stranger(answer)
    return understood(answer, Problem)


def refuse(answer: httpx.Response) -> None:
    """Return if the answer is a success, and raise the error that it means otherwise."""
    if not answer.is_success:
        raise error_of(
            problem_of(answer), answer.status_code, version=version_of(answer), retry_after_s=_retry_after_s(answer)
        )


def refuse_unexplained(answer: httpx.Response) -> None:
    """Raise `UnavailableError` if an answer without a body says that it can be asked for again later."""
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        message = f"answered {answer.status_code}, which to HEAD comes without a reason"
        raise UnavailableError(message, retry_after_s=_retry_after_s(answer))


def error_of(problem: Problem, status: int, *, version: str | None = None, retry_after_s: float = 1.0) -> KvcoreError:
    """Return the error that a problem means; one of a type that is new to this client, by its status."""
    kind = _BY_TYPE.get(problem.type) or (UnavailableError if status >= 500 else RequestError)
    members: dict[str, Any] = {}
    if issubclass(kind, UnavailableError):
        members = {"outcome": problem.outcome, "retry_after_s": retry_after_s}
    elif issubclass(kind, ConditionFailedError):
        members = {"version": version or problem.version}
    elif issubclass(kind, KeyTooLongError | ValueTooLargeError):
        members = {"limit_bytes": problem.limit_bytes}
    return kind(problem.detail or problem.title or f"answered {status}", **members)


def stranger(answer: httpx.Response) -> KvcoreError:
    """Return the error that an answer means which no node has given."""
    where = f"{answer.request.url.scheme}://{answer.request.url.netloc.decode()}"
    message = f"{where} answered {answer.status_code}, but not as kvcore does; is it a node?"
    if answer.is_server_error:
        return UnavailableError(message, retry_after_s=_retry_after_s(answer))
    return RequestError(message)


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
