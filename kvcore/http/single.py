"""Reading and writing a single key: what is the same in both forms of the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from litestar.types import HTTPScope

from kvcore.clock import version_ms
from kvcore.http.answers import NO_CACHE, Answer, Headers
from kvcore.http.entries import moment
from kvcore.http.forms import ReadQuery
from kvcore.http.gate import grant_for_key
from kvcore.http.headers import http_date, read_headers
from kvcore.http.problems import problem
from kvcore.http.writes import Write
from kvcore.model import ZERO, Entry, Version
from kvcore.service import KeyValueService, Written

__all__ = ("READ_PROBLEMS", "WRITE_PROBLEMS", "read", "write_status", "written")

READ_PROBLEMS: Final = (
    "invalid-request",
    "invalid-key",
    "key-not-found",
    "key-too-long",
    "version-not-reached",
    "overloaded",
    "unavailable",
)
WRITE_PROBLEMS: Final = (
    "invalid-request",
    "invalid-key",
    "key-too-long",
    "condition-failed",
    "unsupported",
    "overloaded",
    "unavailable",
    "clock-skew",
)

_encode = msgspec.json.Encoder().encode
_CACHE_STATUS: Final = {
    "hit": (b"cache-status", b"kvcore; hit"),
    "miss": (b"cache-status", b"kvcore; fwd=miss"),
    "stale": (b"cache-status", b"kvcore; fwd=stale"),
    "bypass": (b"cache-status", b"kvcore; fwd=bypass"),
}


async def read(
    service: KeyValueService, scope: HTTPScope, key: str, query: ReadQuery, show: Callable[[Entry, Headers], Answer]
) -> Answer:
    """Answer a read of a key; `show` makes the answer of what was found, given the header fields that it is to have.

    Raises:
        KvcoreError: what `problem_of` answers.
    """
    asked = read_headers(scope["headers"])
    grant_for_key(scope, "read", key)
    found = await service.get(
        key,
        min_version=Version(query.min_version or ZERO),
        wait_s=query.wait / 1000,
        from_store=asked.from_store,
    )
    headers = [_CACHE_STATUS[found.cache], NO_CACHE]
    entry = found.entry
    if entry is None:
        return problem("key-not-found", "the key does not exist", headers)
    headers += ((b"etag", b'"%s"' % entry.version.encode()), (b"last-modified", _written_at(entry.version)))
    if entry.expires_at_ms is not None:
        headers.append((b"expires-at", _encode(moment(entry.expires_at_ms)).strip(b'"')))
    if asked.if_none_match and asked.holds(entry.version):
        return Answer(304, headers=headers)
    return show(entry, headers)


def written(asked: Write, came_to: Written) -> Answer:
    """Answer a write."""
    version = came_to.version.encode()
    body = b'{"data":{"key":%s,"version":"%s"},"detail":"%s"}' % (
        _encode(asked.key),
        version,
        b"stored" if came_to.stored else b"queued",
    )
    return Answer(write_status(asked, came_to), body, headers=[(b"etag", b'"%s"' % version)])


def write_status(asked: Write, came_to: Written) -> Literal[200, 201, 202]:
    """Return the status of a write, alone or in a batch; 201: the key did not exist before, by its condition."""
    return 201 if asked.creates else 200 if came_to.stored else 202


def _written_at(version: Version) -> bytes:
    """Return the time in a version as HTTP wants it; not one that is yet to come, where a node's clock is ahead."""
    return http_date(min(version_ms(version) / 1000, time.time()))
