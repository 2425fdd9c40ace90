"""What all requests of the administration have in common: how they are read, answered and told in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from kvcore.errors import KvcoreError
from kvcore.http.forms import NoQuery
from kvcore.http.gate import grant_of
from kvcore.http.headers import check_json_sent, read_headers
from kvcore.http.requests import AnyRequest, read_body, read_query

__all__ = (
    "ANSWER_HEADERS",
    "CHANGING_PROBLEMS",
    "TAGS",
    "Audit",
    "Nothing",
    "audited",
    "checked_body",
    "checked_query",
)

logger = logging.getLogger("kvcore.admin")

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)

TAGS: Final = ["administration"]
ANSWER_HEADERS: Final = ("Cache-Control",)
CHANGING_PROBLEMS: Final = ("invalid-json", "body-too-large", "unsupported-encoding", "unsupported-media-type")
"""Those of a request that has a body."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An empty object: the path says all."""


def checked_query(request: AnyRequest, form: type[Q]) -> Q:
    """Return the query of a request that only looks.

    Raises:
        InvalidRequestError: it has parameters, conditions or a name that it does not take.
    """
    read_headers(request.scope["headers"])
    return read_query(request.scope["query_string"], form)


async def checked_body(request: AnyRequest, limit_bytes: int) -> bytes:
    """Return the body of a request that changes something.

    Raises:
        InvalidRequestError: it is not sent as JSON, which a web page cannot do unasked, or has a query or conditions.
    """
    read_query(request.scope["query_string"], NoQuery)
    check_json_sent(request.scope["headers"], "a request to /admin")
    return await read_body(request.receive, request.scope["headers"], limit_bytes)


class Audit:
    """What came of an operation, for its line in the log."""

    came_to = "done"


@contextmanager
def audited(request: AnyRequest, what: str) -> Iterator[Audit]:
    """Write one line about an operation that changes something: who asked for what, and what came of it, also if it failed."""
    audit = Audit()
    try:
        yield audit
    except KvcoreError as error:
        audit.came_to = f"{type(error).__name__}: {error}"
        raise
    except BaseException as error:
        audit.came_to = type(error).__name__
        raise
    finally:
        logger.info("%r has asked to %s: %s", grant_of(request.scope).name, what, audit.came_to)
