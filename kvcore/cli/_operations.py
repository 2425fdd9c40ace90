"""The lines that `kvctl batch` takes, in the form of POST /batch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from kvcore import client
from kvcore.errors import RequestError

__all__ = ("operation_of",)


class Put(msgspec.Struct, tag_field="op", tag="put", forbid_unknown_fields=True, kw_only=True):
    """Write a value."""

    key: str
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    value_base64: bytes | None = None
    media_type: str | None = None
    ttl: Annotated[int, Meta(ge=1)] | None = None
    if_match: str | None = None
    if_none_match: Literal["*"] | None = None
    idempotency_key: str | None = None


class Get(msgspec.Struct, tag_field="op", tag="get", forbid_unknown_fields=True, kw_only=True):
    """Read a value."""

    key: str


class Delete(msgspec.Struct, tag_field="op", tag="delete", forbid_unknown_fields=True, kw_only=True):
    """Delete a key."""

    key: str
    if_match: str | None = None
    idempotency_key: str | None = None


_DECODER: Final = msgspec.json.Decoder(Put | Get | Delete)


def operation_of(line: bytes) -> client.Operation:
    """Return the operation that a line holds.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: it is no JSON, or not of the form.
        RequestError: it is a put without a value, or with two.
    """
    parsed = _DECODER.decode(line)
    if isinstance(parsed, Get):
        return client.Get(parsed.key)
    if isinstance(parsed, Delete):
        return client.Delete(parsed.key, parsed.if_match, parsed.idempotency_key)
    is_json = bool(bytes(parsed.value))
    if is_json == (parsed.value_base64 is not None):
        raise RequestError("a put has one of `value` and `value_base64`")
    return client.Put(
        parsed.key,
        parsed.value if is_json else parsed.value_base64,
        media_type=parsed.media_type,
        ttl_s=parsed.ttl,
        if_match=parsed.if_match,
        if_absent=parsed.if_none_match is not None,
        idempotency_key=parsed.idempotency_key,
    )
