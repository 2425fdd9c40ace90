"""Many operations: packed into as few requests as the limits allow, and the results of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final

import httpx
import msgspec

from kvcore.client._answers import NO_KEY, Problem, error_of, refuse, stranger, understood
from kvcore.client._calls import Ack, Call, Calls, body_of, check_text, check_ttl, shown_value
from kvcore.client._retrying import Retrying, Steps
from kvcore.client._values import Value, Written
from kvcore.errors import KvcoreError, RequestError, UnavailableError
from kvcore.model import JSON
from kvcore.problem_types import uri_of

__all__ = ("Batches", "Delete", "Get", "Operation", "Put", "Result", "deletion", "inline_json")


class Put(msgspec.Struct, frozen=True):
    """Write a value: as `Client.put` does. A conditional one has an idempotency key only if one is given."""

    key: str
    value: Any
    media_type: str | None = None
    ttl_s: int | None = None
    if_match: str | None = None
    if_absent: bool = False
    idempotency_key: str | None = None


class Get(msgspec.Struct, frozen=True):
    """Read a value: as `Client.get` does."""

    key: str


class Delete(msgspec.Struct, frozen=True):
    """Delete a key: as `Client.delete` does. A conditional one has an idempotency key only if one is given."""

    key: str
    if_match: str | None = None
    idempotency_key: str | None = None


Operation = Put | Get | Delete

Result = Written | Value | KvcoreError | None
"""Of a write what became of it, of a read the value or None where there is no such key, and of either why it failed."""

Chunk = list[tuple[Operation, bytes]]

_TOO_LARGE: Final = uri_of("answer-too-large")


class AnswerTooLargeError(RequestError):
    """The value was left out, since it would not have fitted into the answer with those before it."""


class Batches:
    """Does many operations."""

    def __init__(self, calls: Calls, retrying: Retrying, *, ack: Ack | None, wait_s: float) -> None:
        self._calls = calls
        self._retrying = retrying
        self._ack = ack
        self._wait_s = wait_s

    def results(self, operations: Iterable[Operation], max_operations: int, max_bytes: int) -> Steps[list[Result]]:
        """Return the result of each operation.

        Raises:
            KvcoreError: an operation cannot be sent as it is, and none was; or a request failed, before there was any
                result. One that fails later is the result of its operations; what would have followed is not sent.
        """
        results: list[Result] = []
        chunks = iter(list(_chunks(operations, max_operations, max_bytes)))
        for chunk in chunks:
            try:
                results += yield from self._chunk_results(chunk)
            except KvcoreError as error:
                if not results:
                    raise
                results += [error] * len(chunk)
                not_sent = UnavailableError("not sent, since an operation before it failed", outcome="not-applied")
                results += [not_sent for rest in chunks for _ in rest]
        return results

    def _chunk_results(self, chunk: Chunk) -> Steps[list[Result]]:
        call = self._call(chunk)
        attempts = self._retrying.begin(call)
        results = yield from self._retrying.result(call)
        while again := [at for at, result in enumerate(results) if _is_to_be_sent_again(chunk[at][0], result)]:
            try:
                yield attempts.pause_after(UnavailableError("some operations failed", outcome="not-applied"))
                repeated = yield from self._retrying.result(self._call([chunk[at] for at in again]))
            except KvcoreError:
                break  # they keep the errors that they have
            for at, result in zip(again, repeated, strict=True):
                results[at] = _overall(results[at], result)
        for at, (operation, _) in enumerate(chunk):
            if isinstance(operation, Get) and self._is_to_be_read_alone(operation.key, results[at]):
                results[at] = yield from self._read_alone(operation.key)
            self._note(operation.key, results[at])
        return results

    def _call(self, chunk: Chunk) -> Call[list[Result]]:
        operations = [operation for operation, _ in chunk]
        return self._calls.batch(
            b'{"operations":[%s]}' % b",".join(line for _, line in chunk),
            ack=self._ack,
            writes=any(not isinstance(operation, Get) for operation in operations),
            repeatable=all(_is_repeatable(operation) for operation in operations),
            read=partial(_read, len(chunk)),
        )

    def _is_to_be_read_alone(self, key: str, result: Result) -> bool:
        """Tell whether a value did not fit, or whether what was read is older than what this session knows."""
        if isinstance(result, KvcoreError):
            return isinstance(result, AnswerTooLargeError)
        known = self._calls.memory.newest(key) if self._calls.memory else None
        return known is not None and (not isinstance(result, Value) or result.version < known)

    def _read_alone(self, key: str) -> Steps[Result]:
        call = self._calls.get(key, min_version=None, wait_s=self._wait_s, from_store=False, if_none_match=None)
        try:
            return (yield from self._retrying.result(call))
        except KvcoreError as error:
            return error

    def _note(self, key: str, result: Result) -> None:
        if self._calls.memory and isinstance(result, Written | Value):
            self._calls.memory.note(key, result.version)


def deletion(
    calls: Calls, retrying: Retrying, prefix: str, ack: Ack | None, progress: Callable[[int], object] | None
) -> Steps[int]:
    """Delete what a prefix matches, and return how many keys were deleted."""
    deleted, cursor = 0, None
    while True:
        page = yield from retrying.result(calls.delete_page(prefix, ack=ack, cursor=cursor))
        deleted += page.data.deleted
        if progress:
            progress(deleted)
        cursor = page.cursor
        if cursor is None:
            return deleted


# --- requests ---------------------------------------------------------------------------------------------------------


def _chunks(operations: Iterable[Operation], max_operations: int, max_bytes: int) -> Iterator[Chunk]:
    """Yield the operations with their JSON, as many at a time as go into a request, in which each key may be once."""
    chunk: Chunk = []
    keys: set[str] = set()
    size = 0
    for operation in operations:
        line = _line(operation)
        if chunk and (len(chunk) == max_operations or size + len(line) > max_bytes or operation.key in keys):
            yield chunk
            chunk, keys, size = [], set(), 0
        chunk.append((operation, line))
        keys.add(operation.key)
        size += len(line) + 1
    if chunk:
        yield chunk


def _line(operation: Operation) -> bytes:
    check_text(operation.key)
    members: dict[str, object] = {"op": type(operation).__name__.lower(), "key": operation.key}
    if isinstance(operation, Put):
        check_ttl(operation.ttl_s)
        members |= _value_members(operation)
        members["ttl"] = operation.ttl_s
        members["if_none_match"] = "*" if operation.if_absent else None
    if not isinstance(operation, Get):
        members["if_match"] = operation.if_match
        members["idempotency_key"] = operation.idempotency_key
    given = {name: member for name, member in members.items() if member is not None}
    try:
        return msgspec.json.encode(given)
    except UnicodeEncodeError:
        raise RequestError(f"the key {operation.key!r} cannot be written as UTF-8") from None


def _value_members(put: Put) -> dict[str, object]:
    body, media_type = body_of(put.value, put.media_type)
    inline = inline_json(put.key, body, media_type)
    return {"value_base64": body, "media_type": media_type} if inline is None else {"value": inline}


def inline_json(key: str, body: bytes, media_type: str) -> msgspec.Raw | None:
    """Return JSON that may stand in a request as it is; None: it is none, or white space around it would be lost.

    Raises:
        RequestError: it is said to be JSON, and is not.
    """
    if media_type != JSON:
        return None
    try:
        msgspec.json.decode(body)  # it becomes a part of the request, and must not be able to end it
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the value of {key!r} is not valid JSON: {error}") from None
    return msgspec.Raw(body) if body.strip(b" \t\r\n") == body else None


def _is_repeatable(operation: Operation) -> bool:
    if isinstance(operation, Get) or operation.idempotency_key:
        return True
    return operation.if_match is None and not (isinstance(operation, Put) and operation.if_absent)


def _is_to_be_sent_again(operation: Operation, result: Result) -> bool:
    """Tell whether an operation failed that may succeed later, and would do no harm if it was done already."""
    return isinstance(result, UnavailableError) and (result.outcome == "not-applied" or _is_repeatable(operation))


def _overall(before: Result, now: Result) -> Result:
    """Return the result of two attempts: one that may have been applied is not undone by another that was not."""
    if isinstance(now, UnavailableError) and isinstance(before, UnavailableError) and before.outcome == "unknown":
        now.outcome = "unknown"
    return now


# --- results ----------------------------------------------------------------------------------------------------------


class ResultLine(msgspec.Struct, frozen=True):
    """The result of one operation as it is sent: of a write, of a read, or a problem."""

    status: int
    key: str
    version: str = ""
    detail: str = ""
    media_type: str = ""
    expires_at: datetime | None = None
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    value_base64: bytes | None = None
    problem: Problem | None = None


class ResultLines(msgspec.Struct, frozen=True):
    """The results of a batch as they are sent."""

    data: list[ResultLine]


def _read(count: int, answer: httpx.Response) -> list[Result]:
    refuse(answer)
    lines = understood(answer, ResultLines).data
    if len(lines) != count:
        raise stranger(answer)
    return [_result(line) for line in lines]


def _result(line: ResultLine) -> Result:
    if line.problem is not None:
        if line.problem.type == NO_KEY:
            return None
        if line.problem.type == _TOO_LARGE:
            return AnswerTooLargeError(line.problem.detail)
        return error_of(line.problem, line.status)
    if line.detail:
        return Written(key=line.key, version=line.version, stored=line.detail == "stored", created=line.status == 201)
    return shown_value(line.version, line.media_type, line.expires_at, line.value, line.value_base64)
