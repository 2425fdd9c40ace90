"""`/keys`: many keys by their prefix, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import delete, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, Raw, UnsetType

from kvcore.backends import Listed, Scanned
from kvcore.errors import KvcoreError, UnavailableError
from kvcore.http.answers import NO_CACHE, json_answer
from kvcore.http.cursor import cursor_at, place_of
from kvcore.http.entries import moment, value_members
from kvcore.http.forms import WriteQuery
from kvcore.http.gate import grant_of
from kvcore.http.headers import read_headers, write_headers
from kvcore.http.in_turns import in_turns
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, described
from kvcore.http.requests import AnyRequest, read_query
from kvcore.model import Entry
from kvcore.service import Ack, KeyValueService

__all__ = ("listing_handlers",)

_encode: Final = msgspec.json.Encoder().encode

_PREFIX = "What the keys begin with, percent-encoded."
_NO_NUL: Final = {"pattern": "^[^\\u0000]*$"}
_CURSOR = Meta(
    description="Where to go on: the `cursor` of the page before, with the same `prefix`.",
    extra_json_schema={"minLength": 8},
)
Limit = Annotated[int, Meta(ge=1, le=1000, description="Most keys of this page, which may have fewer.")]


_PROBLEMS: Final = ("invalid-key", "key-too-long", "unsupported", "unavailable")
_EXAMPLE: Final = {
    "key": "foo",
    "version": EXAMPLE_VERSION,
    "size": 5,
    "media_type": "application/json",
    "expires_at": None,
}


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which keys to list, and what of them."""

    prefix: Annotated[str, Meta(description=f"{_PREFIX} Default: every key.", extra_json_schema=_NO_NUL)] = ""
    limit: Limit = 100
    cursor: Annotated[str | None, _CURSOR] = None
    values: Annotated[bool, Meta(description="Whether to show the values too.")] = False


class DeleteQuery(WriteQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which keys to delete, and how."""

    prefix: Annotated[
        str, Meta(description=f"{_PREFIX} It must be given, and may be empty: every key.", extra_json_schema=_NO_NUL)
    ]
    limit: Limit = 100
    cursor: Annotated[str | None, _CURSOR] = None


class ListedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that exists; with `values`, one of `value` (where it is JSON) and `value_base64`."""

    key: str
    version: str
    size: int
    media_type: str
    expires_at: datetime | None
    value: Raw | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET


class KeyPage(msgspec.Struct, frozen=True):
    """A part of a listing; `cursor` is null on the last page."""

    data: Sequence[ListedKey]
    cursor: str | None


class DeletedCount(msgspec.Struct, frozen=True):
    """How many keys of a page were deleted."""

    deleted: int


class DeletedPage(msgspec.Struct, frozen=True):
    """What became of a page; `cursor` is null on the last one."""

    data: DeletedCount
    cursor: str | None


def listing_handlers(service: KeyValueService, page_bytes: int) -> list[HTTPRouteHandler]:
    """Return the handlers of `/keys` over a service; a page has keys and values of about `page_bytes` at most."""

    @get(
        "/keys",
        operation_class=described(
            query=ListQuery,
            answers={
                200: DescribedAnswer(
                    "A page, in byte order of the keys. It may have fewer keys than `limit`, or none, and not be the last.",
                    {"data": [_EXAMPLE], "cursor": None},
                    KeyPage,
                    headers=("Cache-Control",),
                )
            },
            problems=_PROBLEMS,
        ),
        operation_id="listKeys",
        summary="List keys",
        tags=["many keys"],
    )
    async def list_keys(request: AnyRequest) -> ASGIApp:
        query = read_query(request.scope["query_string"], ListQuery)
        read_headers(request.scope["headers"])  # a page has no ETag: If-None-Match never matches, the rest is refused
        grant_of(request.scope).check("read", query.prefix)
        scanned = _within(await _scan(service, query), page_bytes, with_values=query.values)
        if query.values:
            entries = await service.entries([listed.key for listed in scanned.listed]) if scanned.listed else ()
            # What was deleted since the scan is left out, and what was overwritten is shown as it is now.
            lines = [_full_line(at.key, now) for at, now in zip(scanned.listed, entries, strict=True) if now]
        else:
            lines = [_line(listed) for listed in scanned.listed]
        return json_answer(KeyPage(lines, _cursor(query, scanned)), NO_CACHE)

    @delete(
        "/keys",
        status_code=200,
        operation_class=described(
            query=DeleteQuery,
            answers={
                200: DescribedAnswer(
                    "The keys of this page are deleted, also what was written to them since the page was read. Go on with `cursor`.",
                    {"data": {"deleted": 100}, "cursor": None},
                    DeletedPage,
                    headers=("Cache-Control",),
                )
            },
            problems=(*_PROBLEMS, "rejected-by-store", "clock-skew"),
        ),
        operation_id="deleteKeys",
        summary="Delete keys",
        tags=["many keys"],
    )
    async def delete_keys(request: AnyRequest) -> ASGIApp:
        query = read_query(request.scope["query_string"], DeleteQuery)
        write_headers(request.scope["headers"]).condition.refuse("deleting a page of keys")
        grant_of(request.scope).check("write", query.prefix)
        scanned = await _scan(service, query)
        await _delete_all(service, [listed.key for listed in scanned.listed], query.ack)
        return json_answer(DeletedPage(DeletedCount(len(scanned.listed)), _cursor(query, scanned)), NO_CACHE)

    return [list_keys, delete_keys]


async def _scan(service: KeyValueService, query: ListQuery | DeleteQuery) -> Scanned:
    after = None if query.cursor is None else place_of(query.prefix, query.cursor)
    return await service.scan(query.prefix, after=after, limit=query.limit)


async def _delete_all(service: KeyValueService, keys: Sequence[str], ack: Ack | None) -> None:
    """Delete keys, all at once, so that the batchers of the service make one bulk call per tier of them.

    Raises:
        KvcoreError: some could not be deleted; others may be.
    """
    failures = [
        failure for failure in await in_turns(_attempt(service, key, ack) for key in keys) if failure is not None
    ]
    for failure in failures:
        if isinstance(failure, UnavailableError) and len(failures) < len(keys):
            failure.outcome = "unknown"  # of the page, of which some is done
        raise failure


async def _attempt(service: KeyValueService, key: str, ack: Ack | None) -> KvcoreError | None:
    try:
        await service.delete(key, ack=ack)
    except KvcoreError as error:
        return error
    return None


def _cursor(query: ListQuery | DeleteQuery, scanned: Scanned) -> str | None:
    return None if scanned.after is None else cursor_at(query.prefix, scanned.after)


def _within(scanned: Scanned, most_bytes: int, *, with_values: bool) -> Scanned:
    """Return the first keys that have so many bytes together, as JSON and with their values if wanted, or the very first."""
    total = 0
    for count, listed in enumerate(scanned.listed):
        total += len(_encode(listed.key)) + with_values * listed.size_bytes  # a control character becomes six bytes
        if count and total > most_bytes:
            return Scanned(scanned.listed[:count], scanned.listed[count - 1].key)
    return scanned


def _line(listed: Listed) -> ListedKey:
    return ListedKey(
        key=listed.key,
        version=listed.version,
        size=listed.size_bytes,
        media_type=listed.media_type,
        expires_at=moment(listed.expires_at_ms),
    )


def _full_line(key: str, entry: Entry) -> ListedKey:
    value, value_base64 = value_members(entry)
    return ListedKey(
        key=key,
        version=entry.version,
        size=len(entry.value or b""),
        media_type=entry.media_type,
        expires_at=moment(entry.expires_at_ms),
        value=value,
        value_base64=value_base64,
    )
