"""`/batch`: many operations in one request, each with a result of its own.

All are asked at once, so that the batchers of the service make one bulk call per tier of them.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, Raw, UnsetType
from prometheus_client import Counter

from kvcore.access import Grant
from kvcore.config import LimitSettings
from kvcore.errors import KvcoreError
from kvcore.http.answers import Answer
from kvcore.http.batch_body import Batch, GetOperation, Write, parse_batch
from kvcore.http.entries import moment, value_members
from kvcore.http.gate import grant_of
from kvcore.http.headers import read_media_type, write_headers
from kvcore.http.in_turns import in_turns
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, Problem, described, reference
from kvcore.http.problems import InvalidRequestError, problem, problem_of
from kvcore.http.requests import RawHeaders, WriteQuery, read_body, read_query
from kvcore.model import JSON, ZERO, Entry
from kvcore.service import Ack, KeyValueService, Written

__all__ = ("batch_handlers",)

AnyRequest = Request[Any, Any, Any]


class WriteResult(msgspec.Struct, frozen=True, kw_only=True):
    """A put or a delete that was done."""

    status: Literal[200, 201, 202]
    key: str
    version: str
    detail: Literal["stored", "queued"]


class ReadResult(msgspec.Struct, frozen=True, kw_only=True):
    """A get that has found its key: one of `value` (where it is JSON) and `value_base64`."""

    status: Literal[200]
    key: str
    version: str
    media_type: str
    expires_at: datetime | None
    value: Raw | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET


class FailedResult(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that was not done; `problem` is what it would have been answered alone."""

    status: int
    key: str
    problem: Annotated[Raw, Meta(extra_json_schema=reference(Problem))]


Result = WriteResult | ReadResult | FailedResult
_ANY_RESULT: Final = {"anyOf": [reference(form) for form in get_args(Result)]}


class BatchResults(msgspec.Struct, frozen=True):
    """One result for each operation, in their order."""

    data: Sequence[Annotated[Any, Meta(extra_json_schema=_ANY_RESULT)]]


_EXAMPLE: Final = {
    "operations": [
        {"op": "put", "key": "foo", "value": "bar", "ttl": 60},
        {"op": "get", "key": "other"},
        {"op": "delete", "key": "old", "if_match": "*"},
    ]
}
_EXAMPLE_RESULTS: Final = {
    "data": [
        {"status": 200, "key": "foo", "version": EXAMPLE_VERSION, "detail": "stored"},
        {
            "status": 200,
            "key": "other",
            "version": EXAMPLE_VERSION,
            "media_type": "application/octet-stream",
            "expires_at": None,
            "value_base64": "AAEC",
        },
        {"status": 200, "key": "old", "version": EXAMPLE_VERSION, "detail": "stored"},
    ]
}
_ONE_VALUE: Final = {
    "oneOf": [
        {"required": ["value"], "properties": {"value_base64": False, "media_type": {"enum": [JSON, None]}}},
        {"required": ["value_base64"], "properties": {"value": False}},
    ]
}


def batch_handlers(service: KeyValueService, limits: LimitSettings, counted: Counter) -> list[HTTPRouteHandler]:
    """Return the handler of `/batch` over a service; results are counted by operation and status."""

    @post(
        "/batch",
        status_code=200,
        operation_class=described(
            query=WriteQuery,
            body=Batch,
            example=_EXAMPLE,
            answers={
                200: DescribedAnswer(
                    "A result for each operation, in their order. They are not one transaction: each is done or not for itself.",
                    _EXAMPLE_RESULTS,
                    BatchResults,
                    headers=("Cache-Control",),
                )
            },
            problems=("invalid-json", "body-too-large", "unsupported-encoding", "unsupported-media-type"),
            referred=get_args(Result),
            rules={"PutOperation": _ONE_VALUE},
        ),
        operation_id="runBatch",
        summary="Do many operations",
        tags=["many keys"],
    )
    async def run_batch(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        query = read_query(scope["query_string"], WriteQuery)
        _check_headers(scope["headers"])
        grant = grant_of(scope)
        if "write" not in grant.scopes:
            grant.check_scope("read")  # one of them will do, as long as the operations are not known
        body = await read_body(request.receive, scope["headers"], limits.batch_bytes)
        if len(body) < _LONG_BODY_BYTES:
            asked = parse_batch(body, limits)
        else:
            asked = await asyncio.to_thread(parse_batch, body, limits)
        results = _within(await in_turns(_run(service, grant, one, query.ack) for one in asked), limits.page_bytes)
        for (name, status), count in _counts(asked, results).items():
            counted.labels(name, str(status)).inc(count)
        return Answer(200, _encode(BatchResults(results)), headers=[_ASK_AGAIN])

    return [run_batch]


_LONG_BODY_BYTES: Final = 128 * 1024
"""What is longer is parsed in a thread: it takes more than some milliseconds, for which nobody else should wait."""
_ASK_AGAIN: Final = (b"cache-control", b"no-cache")
_encode: Final = msgspec.json.Encoder().encode


def _check_headers(headers: RawHeaders) -> None:
    """Refuse a batch by its header fields.

    Raises:
        InvalidRequestError: it is not sent as JSON, which a web page cannot do unasked, or has a condition as a whole.
    """
    said = write_headers(headers)
    if said.expected is not None or said.idempotency_key:
        raise InvalidRequestError(
            "a batch has no condition and no Idempotency-Key as a whole: operations have if_match"
        )
    if not said.content_type or read_media_type(said.content_type) != JSON:
        raise InvalidRequestError(f"send the batch with Content-Type: {JSON}", problem="unsupported-media-type")


async def _run(service: KeyValueService, grant: Grant, one: GetOperation | Write, ack: Ack | None) -> Result:
    try:
        if isinstance(one, GetOperation):
            grant.check("read", one.key)
            return _read((await service.get(one.key)).entry, one.key)
        grant.check("write", one.key)
        if one.value is None:
            written = await service.delete(one.key, expected=one.expected, ack=ack)
        else:
            written = await service.put(
                one.key, one.value, media_type=one.media_type, ttl_s=one.ttl_s, expected=one.expected, ack=ack
            )
        return _written(one, written)
    except KvcoreError as error:
        return _failed(one.key, problem_of(error))


def _written(write: Write, written: Written) -> WriteResult:
    created = write.expected == ZERO
    return WriteResult(
        status=201 if created else 200 if written.stored else 202,
        key=write.key,
        version=written.version,
        detail="stored" if written.stored else "queued",
    )


def _read(entry: Entry | None, key: str) -> ReadResult | FailedResult:
    if entry is None:
        return _failed(key, problem("key-not-found", "the key does not exist"))
    value, value_base64 = value_members(entry)
    return ReadResult(
        status=200,
        key=key,
        version=entry.version,
        media_type=entry.media_type,
        expires_at=moment(entry.expires_at_ms),
        value=value,
        value_base64=value_base64,
    )


def _failed(key: str, answer: Answer) -> FailedResult:
    return FailedResult(status=answer.status, key=key, problem=Raw(answer.body))


def _counts(asked: Sequence[GetOperation | Write], results: Sequence[Result]) -> Mapping[tuple[str, int], int]:
    """Return how often each kind of operation had each status."""
    kinds = ("get" if isinstance(one, GetOperation) else "delete" if one.value is None else "put" for one in asked)
    return collections.Counter(zip(kinds, (result.status for result in results), strict=True))


def _within(results: Sequence[Result], most_bytes: int) -> list[Result]:
    """Return the results, those of values that are too much together replaced; one value alone is never too much."""
    total, kept = 0, list[Result]()
    for result in results:
        if isinstance(result, ReadResult):
            size = memoryview(result.value or result.value_base64 or b"").nbytes
            if total and total + size > most_bytes:
                detail = f"the values read by a batch are at most {most_bytes} bytes together: read this one by itself"
                kept.append(_failed(result.key, problem("answer-too-large", detail)))
                continue
            total += size
        kept.append(result)
    return kept
