"""The requests that `kvctl` sends to a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from kvcore.errors import ConditionFailedError, RequestError, UnavailableError

__all__ = ("Health", "Read", "Written", "is_missing", "refuse_problem", "send", "understood", "version_of")

TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
PROBLEM: Final = "application/problem+json"

T = TypeVar("T")


class ReadData(msgspec.Struct, frozen=True):
    """The value as the node sent it: not parsed, so that no number loses a digit on its way."""

    value: msgspec.Raw


class Read(msgspec.Struct, frozen=True):
    """The answer to a read."""

    data: ReadData


class WrittenData(msgspec.Struct, frozen=True):
    """What was written."""

    key: str
    version: str


class Written(msgspec.Struct, frozen=True):
    """The answer to a write or delete; `detail` is "stored" or "queued"."""

    data: WrittenData
    detail: str


class Component(msgspec.Struct, frozen=True):
    """One tier's health."""

    status: str
    backend: str
    ping_ms: float
    detail: str = ""


class Health(msgspec.Struct, frozen=True):
    """The answer to a question after the node's health."""

    status: str
    components: dict[str, Component]
    version: str
    node: str
    profile: str


class Problem(msgspec.Struct, frozen=True):
    """An error in the form of RFC 9457, as far as it is shown."""

    type: str
    title: str
    detail: str = ""
    outcome: str = ""


def send(
    url: str,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    """Send a request to the node at `url` and return its answer, whatever that is.

    Raises:
        RequestError: the URL is wrong.
        UnavailableError: there is no answer.
    """
    try:
        return httpx.request(
            method, url.rstrip("/") + path, params=query, headers=headers, content=content, timeout=TIMEOUT
        )
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise RequestError(
            f"{url!r} is not the URL of a node, such as http://127.0.0.1:8000 (--url, KVCORE_URL)"
        ) from None
    except httpx.ConnectError as error:
        hint = "start one with `kvctl serve`, or name another with --url or KVCORE_URL"
        raise UnavailableError(f"no node answers at {url} ({error}); {hint}", outcome="not-applied") from None
    except httpx.HTTPError as error:
        what = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        raise UnavailableError(f"{url}: {what}; what was asked may have been done, asking again is safe") from None


def refuse_problem(answer: httpx.Response) -> None:
    """Raise what a problem document says; return if the answer is a success.

    Raises:
        RequestError: the request is wrong.
        ConditionFailedError: the key is not as `If-Match` or `If-None-Match` wants it.
        UnavailableError: the node could not do it, or something else than a node has answered.
    """
    if answer.is_success:
        return
    problem = _problem_of(answer)
    message = problem.detail or problem.title
    if answer.status_code == httpx.codes.PRECONDITION_FAILED:
        raise ConditionFailedError(message, version=version_of(answer))
    if answer.is_client_error:
        raise RequestError(message)
    raise UnavailableError(f"{message} (outcome: {problem.outcome})" if problem.outcome else message)


def is_missing(answer: httpx.Response) -> bool:
    """Tell whether a node says that the key does not exist; any other 404 is an error."""
    return answer.status_code == httpx.codes.NOT_FOUND and _problem_of(answer).type == "/problems/key-not-found"


def understood(answer: httpx.Response, into: type[T]) -> T:
    """Return an answer's body.

    Raises:
        UnavailableError: something else than a node of kvcore has answered.
    """
    try:
        return msgspec.json.decode(answer.content, type=into)
    except msgspec.MsgspecError:
        raise _stranger(answer) from None


def version_of(answer: httpx.Response) -> str | None:
    """Return the version that the ETag names."""
    return answer.headers.get("etag", "").strip('"') or None


def _problem_of(answer: httpx.Response) -> Problem:
    if str(answer.headers.get("content-type", "")).partition(";")[0] != PROBLEM:
        raise _stranger(answer)
    return understood(answer, Problem)


def _stranger(answer: httpx.Response) -> UnavailableError:
    where = answer.url.copy_with(query=None)
    return UnavailableError(f"{where} answered {answer.status_code}, but not as kvcore does; is it a node?")
