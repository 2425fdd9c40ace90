"""`/kv`: one key at a time, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import Request, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.http.answers import Answer
from kvcore.http.openapi import JsonAnswer, described
from kvcore.http.problems import InvalidRequestError, problem
from kvcore.http.requests import (
    KeyQuery,
    PutBody,
    ReadQuery,
    WriteQuery,
    body_limit,
    bypasses_cache,
    matches,
    parse_put,
    read_body,
    read_condition,
    read_query,
)
from kvcore.model import JSON, ZERO, Version
from kvcore.service import KeyValueService, Written

__all__ = ("kv_handlers",)

AnyRequest = Request[Any, Any, Any]

_WRITE_PROBLEMS = (
    "invalid-request",
    "invalid-key",
    "key-too-long",
    "condition-failed",
    "overloaded",
    "unavailable",
    "clock-skew",
)


def kv_handlers(service: KeyValueService) -> list[HTTPRouteHandler]:
    """Return the handlers of `/kv` over a service."""

    @put(
        "/kv",
        operation_class=described(
            query=WriteQuery,
            body=PutBody,
            headers=("If-Match", "If-None-Match"),
            answers={
                200: JsonAnswer("The store has it.", {"data": {"key": "foo", "version": _EXAMPLE}, "detail": "stored"}),
                201: JsonAnswer(
                    "`If-None-Match: *` created it.", {"data": {"key": "foo", "version": _EXAMPLE}, "detail": "stored"}
                ),
                202: JsonAnswer(
                    "A durable queue has it.", {"data": {"key": "foo", "version": _EXAMPLE}, "detail": "queued"}
                ),
            },
            problems=(
                "invalid-json",
                "body-too-large",
                "value-too-large",
                "unsupported-encoding",
                "rejected-by-store",
                *_WRITE_PROBLEMS,
            ),
        ),
        operation_id="putValue",
        summary="Write a value",
        tags=["keys"],
    )
    async def put_value(request: AnyRequest) -> ASGIApp:
        headers = request.scope["headers"]
        query = read_query(request.scope["query_string"], WriteQuery)
        expected = read_condition(headers)
        _refuse_encoding(headers)
        data = parse_put(await read_body(request.receive, headers, body_limit(service.limits)))
        written = await service.put(data.key, bytes(data.value), ttl_s=data.ttl, expected=expected, ack=query.ack)
        return _written(data.key, written, created=expected == ZERO)

    @get(
        "/kv",
        operation_class=described(
            query=ReadQuery,
            headers=("If-None-Match", "Cache-Control"),
            answers={
                200: JsonAnswer("The value.", {"data": {"value": "bar"}}),
                304: JsonAnswer("`If-None-Match` names the version that the key has.", None),
            },
            problems=(
                "invalid-request",
                "invalid-key",
                "key-not-found",
                "not-json",
                "key-too-long",
                "version-not-reached",
                "overloaded",
                "unavailable",
            ),
        ),
        operation_id="getValue",
        summary="Read a value",
        tags=["keys"],
    )
    async def get_value(request: AnyRequest) -> ASGIApp:
        headers = request.scope["headers"]
        query = read_query(request.scope["query_string"], ReadQuery)
        found = await service.get(
            query.key,
            min_version=Version(query.min_version or ZERO),
            wait_s=query.wait / 1000,
            from_store=bypasses_cache(headers),
        )
        status = (b"cache-status", _CACHE_STATUS[found.cache])
        entry = found.entry
        if entry is None or entry.value is None:
            return problem("key-not-found", "the key does not exist", [status])
        told = [status, (b"etag", b'"%s"' % entry.version.encode())]
        if matches(headers, entry.version):
            return Answer(304, headers=told)
        if entry.media_type != JSON:
            return problem("not-json", f"the value has the media type {entry.media_type}, not {JSON}", told)
        return Answer(200, b'{"data":{"value":' + entry.value + b"}}", headers=told)

    @delete(
        "/kv",
        status_code=200,
        operation_class=described(
            query=KeyQuery,
            headers=("If-Match", "If-None-Match"),
            answers={
                200: JsonAnswer(
                    "Deleted; the store knows.", {"data": {"key": "foo", "version": _EXAMPLE}, "detail": "stored"}
                ),
                202: JsonAnswer(
                    "A durable queue has the delete.", {"data": {"key": "foo", "version": _EXAMPLE}, "detail": "queued"}
                ),
            },
            problems=_WRITE_PROBLEMS,
        ),
        operation_id="deleteValue",
        summary="Delete a key",
        description="Deleting a key that does not exist succeeds too.",
        tags=["keys"],
    )
    async def delete_value(request: AnyRequest) -> ASGIApp:
        query = read_query(request.scope["query_string"], KeyQuery)
        expected = read_condition(request.scope["headers"])
        written = await service.delete(query.key, expected=expected, ack=query.ack)
        return _written(query.key, written, created=False)

    return [put_value, get_value, delete_value]


_encode = msgspec.json.Encoder().encode
_EXAMPLE = "019ab3f2c4d80000a1b2c3d4"
_CACHE_STATUS = {
    "hit": b"kvcore; hit",
    "miss": b"kvcore; fwd=miss",
    "stale": b"kvcore; fwd=stale",
    "bypass": b"kvcore; fwd=bypass",
}


def _refuse_encoding(headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            raise InvalidRequestError(
                f"the body is sent with Content-Encoding {value[:40].decode('latin-1')}: send it plain",
                problem="unsupported-encoding",
            )


def _written(key: str, written: Written, *, created: bool) -> Answer:
    version = written.version.encode()
    body = b'{"data":{"key":%s,"version":"%s"},"detail":"%s"}' % (
        _encode(key),
        version,
        b"stored" if written.stored else b"queued",
    )
    status = 201 if created else 200 if written.stored else 202
    return Answer(status, body, headers=[(b"etag", b'"%s"' % version)])
