"""`/kv/{key}`: one key at a time, any bytes as they are.

The key is read from the path as it was sent: a router that knows of paths only would take `//` and `%2F` for the same.
"""

from __future__ import annotations

from typing import Final

from litestar import delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.http.answers import Answer, Headers
from kvcore.http.forms import RawPutQuery, ReadQuery, WriteQuery
from kvcore.http.gate import grant_for_key
from kvcore.http.headers import read_media_type, write_headers
from kvcore.http.requests import (
    RAW_PREFIX,
    AnyRequest,
    check_json,
    read_body,
    read_key,
    read_query,
)
from kvcore.http.single import read, written
from kvcore.http.single_operations import DELETE_RAW_VALUE, GET_RAW_VALUE, PUT_RAW_VALUE
from kvcore.http.writes import Write, write
from kvcore.model import JSON, Entry
from kvcore.service import KeyValueService

__all__ = ("raw_handlers",)

_PATH: Final = RAW_PREFIX + "{key:path}"
# A browser that is led here shows what others have written: it must neither guess a type nor run anything.
_HARMLESS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
)


def raw_handlers(service: KeyValueService) -> list[HTTPRouteHandler]:
    """Return the handlers of `/kv/{key}` over a service."""

    @put(
        _PATH,
        operation_class=PUT_RAW_VALUE,
        operation_id="putRawValue",
        summary="Write any bytes",
        tags=["raw values"],
    )
    async def put_raw_value(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        key = read_key(scope["raw_path"])
        query = read_query(scope["query_string"], RawPutQuery)
        said = write_headers(scope["headers"])
        media_type = read_media_type(said.content_type)
        grant = grant_for_key(scope, "write", key)
        limit = service.bounds.limits.max_value_bytes
        value = await read_body(request.receive, scope["headers"], limit, too_large="value-too-large")
        if media_type == JSON:
            check_json(value)
        asked = Write(key, value, said.condition, media_type, query.ttl)
        return written(asked, await write(service, grant, asked, query.ack))

    @get(
        _PATH,
        operation_class=GET_RAW_VALUE,
        operation_id="getRawValue",
        summary="Read any bytes",
        tags=["raw values"],
    )
    async def get_raw_value(request: AnyRequest) -> ASGIApp:
        key = read_key(request.scope["raw_path"])
        query = read_query(request.scope["query_string"], ReadQuery)
        return await read(service, request.scope, key, query, _as_it_is)

    @delete(
        _PATH,
        status_code=200,
        operation_class=DELETE_RAW_VALUE,
        operation_id="deleteRawValue",
        summary="Delete a key",
        description="Deleting a key that does not exist succeeds too.",
        tags=["raw values"],
    )
    async def delete_raw_value(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        key = read_key(scope["raw_path"])
        query = read_query(scope["query_string"], WriteQuery)
        condition = write_headers(scope["headers"]).condition
        grant = grant_for_key(scope, "write", key)
        asked = Write(key, None, condition)
        return written(asked, await write(service, grant, asked, query.ack))

    return [put_raw_value, get_raw_value, delete_raw_value]


def _as_it_is(entry: Entry, headers: Headers) -> Answer:
    headers += _HARMLESS
    return Answer(200, entry.value, media_type=entry.media_type.encode(), headers=headers)
