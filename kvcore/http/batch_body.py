"""What `POST /batch` takes, parsed as strictly as all else: whatever is wrong is found before anything is done."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw

from kvcore.clock import is_version
from kvcore.http.entries import value_of
from kvcore.http.forms import Base64Value, JsonValue, KeyOfMany, MediaType, Ttl
from kvcore.http.headers import Condition, is_idempotency_key
from kvcore.http.problems import InvalidRequestError
from kvcore.http.requests import parse_json
from kvcore.http.writes import Write
from kvcore.model import JSON, PRESENT, ZERO, Version
from kvcore.settings import LimitSettings

__all__ = ("Batch", "GetOperation", "parse_batch")

IfMatch = Annotated[
    Annotated[str, Meta(extra_json_schema={"pattern": r"^(\*|(?!0{24})[0-9a-f]{24})$", "maxLength": 24})] | None,
    Meta(
        description="A version: only if the key has it. `*`: only if the key exists. Then the write is always stored."
    ),
]

IdempotencyKey = Annotated[
    Annotated[str, Meta(extra_json_schema={"pattern": "^[!#-~]{1,255}$", "maxLength": 255})] | None,
    Meta(description="As the header field `Idempotency-Key`: with a condition only."),
]


class PutOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="put"):
    """Write a value: one of `value` and `value_base64`."""

    key: KeyOfMany
    value: JsonValue = msgspec.field(default_factory=Raw)
    value_base64: Base64Value = UNSET
    media_type: MediaType = None
    ttl: Ttl = None
    if_match: IfMatch = None
    if_none_match: Annotated[Literal["*"] | None, Meta(description="`*`: only if the key does not exist.")] = None
    idempotency_key: IdempotencyKey = None


class GetOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="get"):
    """Read a value."""

    key: KeyOfMany


class DeleteOperation(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="delete"
):
    """Delete a key."""

    key: KeyOfMany
    if_match: IfMatch = None
    idempotency_key: IdempotencyKey = None


Operation = PutOperation | GetOperation | DeleteOperation


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `POST /batch` takes."""

    operations: Annotated[list[Operation], Meta(min_length=1)]


_BATCH: Final = msgspec.json.Decoder(Batch)


def parse_batch(body: bytes, limits: LimitSettings) -> list[GetOperation | Write]:
    """Parse a batch and check all that can be wrong with it before anything is done.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it, does not have the form, or has a key twice.
    """
    operations = parse_json(body, _BATCH).operations
    if len(operations) > limits.batch_operations:
        raise InvalidRequestError(
            f"the batch has {len(operations)} operations, and at most {limits.batch_operations} are allowed"
        )
    asked: dict[str, GetOperation | Write] = {}
    for index, operation in enumerate(operations):
        try:
            if operation.key in asked:
                raise InvalidRequestError("this key is in the batch before, and a batch has each key once")
            asked[operation.key] = operation if isinstance(operation, GetOperation) else _write_of(operation)
        except InvalidRequestError as error:
            raise InvalidRequestError(
                f"in the body: {error} - at `$.operations[{index}]`", problem=error.problem
            ) from None
    return list(asked.values())


def _write_of(operation: PutOperation | DeleteOperation) -> Write:
    value, media_type, ttl_s = None, JSON, None
    if isinstance(operation, PutOperation):
        value, media_type = value_of(operation.value, operation.value_base64, operation.media_type)
        ttl_s = operation.ttl
    return Write(operation.key, value, _condition_of(operation), media_type, ttl_s)


def _condition_of(operation: PutOperation | DeleteOperation) -> Condition:
    expected, name = _expected_by(operation), operation.idempotency_key
    if name is None:
        return Condition(expected)
    if not is_idempotency_key(name):
        raise InvalidRequestError("an idempotency_key is 1 to 255 visible ASCII characters, without quotes")
    if expected is None:
        raise InvalidRequestError("an idempotency_key goes with a condition: a plain write may be sent again as it is")
    return Condition(expected, name.encode())


def _expected_by(operation: PutOperation | DeleteOperation) -> Version | None:
    """Return what an operation expects, as a mutation's `expected`."""
    match = operation.if_match
    if isinstance(operation, PutOperation) and operation.if_none_match is not None:
        if match is not None:
            raise InvalidRequestError("a put takes one condition: if_match or if_none_match")
        return ZERO
    if match is None or match == "*":
        return None if match is None else PRESENT
    if not is_version(match) or match == ZERO:
        raise InvalidRequestError("if_match takes a version as this service gives them, or *")
    return Version(match)
