"""`/kv`: one key at a time, as JSON."""

from __future__ import annotations

from litestar import delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.http.answers import Answer, Headers
from kvcore.http.forms import KeyReadQuery, KeyWriteQuery, WriteQuery
from kvcore.http.gate import grant_for_key, grant_of
from kvcore.http.headers import write_headers
from kvcore.http.problems import problem
from kvcore.http.requests import AnyRequest, body_limit, parse_put, read_body, read_query
from kvcore.http.single import read, written
from kvcore.http.single_operations import DELETE_VALUE, GET_VALUE, PUT_VALUE
from kvcore.http.writes import Write, write
from kvcore.model import JSON, Entry
from kvcore.service import KeyValueService

__all__ = ("kv_handlers",)


def kv_handlers(service: KeyValueService) -> list[HTTPRouteHandler]:
    """Return the handlers of `/kv` over a service."""

    @put(
        "/kv",
        operation_class=PUT_VALUE,
        operation_id="putValue",
        summary="Write a value",
        tags=["keys"],
    )
    async def put_value(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        query = read_query(scope["query_string"], WriteQuery)
        condition = write_headers(scope["headers"]).condition
        grant_of(scope).check_scope("write")
        data = parse_put(await read_body(request.receive, scope["headers"], body_limit(service.bounds.limits)))
        grant = grant_for_key(scope, "write", data.key)
        asked = Write(data.key, bytes(data.value), condition, ttl_s=data.ttl)
        return written(asked, await write(service, grant, asked, query.ack))

    @get(
        "/kv",
        operation_class=GET_VALUE,
        operation_id="getValue",
        summary="Read a value",
        tags=["keys"],
    )
    async def get_value(request: AnyRequest) -> ASGIApp:
        query = read_query(request.scope["query_string"], KeyReadQuery)
        return await read(service, request.scope, query.key, query, _in_envelope)

    @delete(
        "/kv",
        status_code=200,
        operation_class=DELETE_VALUE,
        operation_id="deleteValue",
        summary="Delete a key",
        description="Deleting a key that does not exist succeeds too.",
        tags=["keys"],
    )
    async def delete_value(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        query = read_query(scope["query_string"], KeyWriteQuery)
        condition = write_headers(scope["headers"]).condition
        grant = grant_for_key(scope, "write", query.key)
        asked = Write(query.key, None, condition)
        return written(asked, await write(service, grant, asked, query.ack))

    return [put_value, get_value, delete_value]


def _in_envelope(entry: Entry, headers: Headers) -> Answer:
    if entry.media_type != JSON:
        detail = f"the value has the media type {entry.media_type}, not {JSON}: read it as /kv/{{key}}"
        return problem("not-json", detail, headers)
    return Answer(200, b'{"data":{"value":%s}}' % (entry.value or b""), headers=headers)
