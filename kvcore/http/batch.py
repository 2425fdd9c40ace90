"""`/batch`: many operations in one request, each with a result of its own.

All writes are asked at once, so that the batchers of the service make one bulk call per tier of them. Reads are asked in
portions, of which there is one unless values were large of late: nobody knows how large one is before it is read.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, Raw, UnsetType

from kvcore.access import Grant
from kvcore.errors import KvcoreError
from kvcore.http.answers import NO_CACHE, Answer, json_answer
from kvcore.http.batch_body import Batch, GetOperation, parse_batch
from kvcore.http.entries import moment, value_members
from kvcore.http.forms import ONE_VALUE, WriteQuery
from kvcore.http.gate import grant_of
from kvcore.http.headers import asks_for_store, check_json_sent
from kvcore.http.in_turns import Parsing, in_turns
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, Problem, described, reference
from kvcore.http.problems import problem, problem_of
from kvcore.http.requests import AnyRequest, read_body, read_query
from kvcore.http.single import write_status
from kvcore.http.writes import Write, write
from kvcore.metrics import Count, Family
from kvcore.model import Entry
from kvcore.service import Ack, KeyValueService, Written
from kvcore.settings import LimitSettings

__all__ = ("FailedResult", "batch_handlers", "failed")


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


def batch_handlers(service: KeyValueService, limits: LimitSettings, counted: Family[Count]) -> list[HTTPRouteHandler]:
    """Return the handler of `/batch` over a service; results are counted by operation and status."""
    sizes = _Sizes()
    parsing = Parsing(lambda body: parse_batch(body, limits))

    @post(
        "/batch",
        status_code=200,
        operation_class=described(
            query=WriteQuery,
            headers=("Cache-Control",),
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
            rules={"PutOperation": ONE_VALUE},
        ),
        operation_id="runBatch",
        summary="Do many operations",
        tags=["many keys"],
    )
    async def run_batch(request: AnyRequest) -> ASGIApp:
        scope = request.scope
        query = read_query(scope["query_string"], WriteQuery)
        check_json_sent(scope["headers"], "a batch, whose operations have if_match and idempotency_key,")
        from_store = asks_for_store(scope["headers"])
        grant = grant_of(scope)
        if "write" not in grant.scopes:
            grant.check_scope("read")  # one of them will do, as long as the operations are not known
        body = await read_body(request.receive, scope["headers"], limits.batch_bytes)
        asked = await parsing(body)
        writes = [one for one in asked if isinstance(one, Write)]
        gets = [one.key for one in asked if isinstance(one, GetOperation)]
        written, read = await asyncio.gather(
            in_turns(_write(service, grant, one, query.ack) for one in writes),
            _read_all(lambda key: _read(service, grant, key, from_store=from_store), gets, limits.page_bytes, sizes),
        )
        of_writes, of_gets = iter(written), iter(read)
        results = [next(of_writes if isinstance(one, Write) else of_gets) for one in asked]
        for (name, status), count in _counts(asked, results).items():
            counted.labels(name, str(status)).inc(count)
        return json_answer(BatchResults(results), NO_CACHE)

    return [run_batch]


_MOST_AT_ONCE_BYTES: Final = 32 << 20
"""About what the values of one portion come to at the most.

As much as a cache across a network can send within its deadline: more would open its circuit breaker for everybody.
"""
_FIRST_EXPECTED_BYTES: Final = 4096


class _Sizes:
    """How large values are, by those that batches have read of late."""

    def __init__(self) -> None:
        self._expected_bytes = _FIRST_EXPECTED_BYTES

    def portion(self, left_bytes: int) -> int:
        """Return how many values to read next, where so many bytes are left."""
        return max(1, min(left_bytes, _MOST_AT_ONCE_BYTES) // self._expected_bytes)

    def saw(self, sizes: Sequence[int]) -> None:
        """Take note of how large values were; keys that do not exist tell nothing.

        Large ones are forgotten slowly, since to expect too little costs others more.
        """
        if sizes:
            self._expected_bytes = max(1, sum(sizes) // len(sizes), self._expected_bytes * 9 // 10)


async def _read_all(
    read_one: Callable[[str], Coroutine[Any, Any, Result]], keys: Sequence[str], most_bytes: int, sizes: _Sizes
) -> list[Result]:
    """Read keys until their values are `most_bytes` together; one value alone is never too much."""
    results: list[Result] = []
    left = most_bytes
    while len(results) < len(keys) and left > 0:
        some = keys[len(results) : len(results) + sizes.portion(left)]
        read = await in_turns(map(read_one, some))
        sizes.saw([_size_bytes(result) for result in read if isinstance(result, ReadResult)])
        for result in read:
            is_alone = left == most_bytes
            left -= _size_bytes(result)
            if left < 0 and not is_alone:
                break
            results.append(result)
    detail = f"the values read by a batch are at most {most_bytes} bytes together: read this one by itself"
    return [*results, *(failed(key, problem("answer-too-large", detail)) for key in keys[len(results) :])]


async def _read(service: KeyValueService, grant: Grant, key: str, *, from_store: bool) -> Result:
    try:
        grant.check("read", key)
        return _found((await service.get(key, from_store=from_store)).entry, key)
    except KvcoreError as error:
        return failed(key, problem_of(error))


async def _write(service: KeyValueService, grant: Grant, one: Write, ack: Ack | None) -> Result:
    try:
        grant.check("write", one.key)
        return _written(one, await write(service, grant, one, ack))
    except KvcoreError as error:
        return failed(one.key, problem_of(error))


def _written(asked: Write, written: Written) -> WriteResult:
    return WriteResult(
        status=write_status(asked, written),
        key=asked.key,
        version=written.version,
        detail="stored" if written.stored else "queued",
    )


def _found(entry: Entry | None, key: str) -> ReadResult | FailedResult:
    if entry is None:
        return failed(key, problem("key-not-found", "the key does not exist"))
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


def failed(key: str, answer: Answer) -> FailedResult:
    """Return the result of an operation that was not done, given the answer that it would have had alone."""
    return FailedResult(status=answer.status, key=key, problem=Raw(answer.body))


def _counts(asked: Sequence[GetOperation | Write], results: Sequence[Result]) -> Mapping[tuple[str, int], int]:
    """Return how often each kind of operation had each status."""
    kinds = ("get" if isinstance(one, GetOperation) else "delete" if one.value is None else "put" for one in asked)
    return collections.Counter(zip(kinds, (result.status for result in results), strict=True))


def _size_bytes(result: Result) -> int:
    """Return how large the value in a result is; 0 where there is none."""
    return memoryview(result.value or result.value_base64 or b"").nbytes if isinstance(result, ReadResult) else 0
