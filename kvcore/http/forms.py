"""The forms of requests: queries, bodies, and the members that several of them have. Whatever they do not name is refused."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, UnsetType

from kvcore.model import JSON
from kvcore.service import MAX_TTL_S, Ack

__all__ = (
    "KEY_SCHEMA",
    "ONE_VALUE",
    "Base64Value",
    "JsonValue",
    "KeyOfMany",
    "KeyReadQuery",
    "KeyWriteQuery",
    "MediaType",
    "NoQuery",
    "PutBody",
    "PutData",
    "RawPutQuery",
    "ReadQuery",
    "Ttl",
    "WriteQuery",
)

# --- members ----------------------------------------------------------------------------------------------------------

KEY_SCHEMA: Final = {"minLength": 1, "pattern": "^[^\\u0000]+$", "examples": ["foo"]}
"""What JSON Schema can say of a key. It is checked by the service, with problems of their own."""
Key = Annotated[str, Meta(description="The key: 1 to 65,536 bytes of UTF-8 without NUL.", extra_json_schema=KEY_SCHEMA)]
KeyParameter = Annotated[
    str,
    Meta(
        description="The key: 1 to 65,536 bytes of UTF-8 without NUL, percent-encoded.",
        extra_json_schema=KEY_SCHEMA,
    ),
]
# Without a schema: one that is wrong has a result of its own, and the others are done.
KeyOfMany = Annotated[str, Meta(description="The key: 1 to 65,536 bytes of UTF-8 without NUL. Each key is there once.")]
JsonValue = Annotated[Raw, Meta(description="Any JSON value, `null` included; kept as it was sent, byte for byte.")]
Base64Value = Annotated[
    bytes | UnsetType,
    Meta(
        description="Any bytes.",
        extra_json_schema={"pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
    ),
]
MediaType = Annotated[
    str | None, Meta(description="Of the bytes; default: `application/octet-stream`. A `value` is `application/json`.")
]
Ttl = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_TTL_S)] | None,
    Meta(description="Seconds from now after which the key reads as missing. Default: never."),
]
ONE_VALUE: Final = {
    "oneOf": [
        {"required": ["value"], "properties": {"value_base64": False, "media_type": {"enum": [JSON, None]}}},
        {"required": ["value_base64"], "properties": {"value": False}},
    ]
}
"""What holds for a form that has `value`, `value_base64` and `media_type`, beyond their types: see `entries.value_of`."""


# --- queries ----------------------------------------------------------------------------------------------------------


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """No parameters."""


class WriteQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to write."""

    ack: Annotated[
        Ack | None,
        Meta(
            description="The least that the answer means: `accepted`, a durable queue has it; `stored`, the store has it."
            " Default: `accepted` where the queue is durable, else `stored`. A condition is always `stored`."
        ),
    ] = None


class KeyWriteQuery(WriteQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which key to write, and how."""

    key: KeyParameter


class RawPutQuery(WriteQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to write the value that is the body, and how long it lives."""

    ttl: Ttl = None


class ReadQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How new what is read must be."""

    min_version: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{24}$", max_length=24)] | None,
        Meta(description="A version, as in an ETag: answer with it or a newer one, never with an older one."),
    ] = None
    wait: Annotated[int, Meta(ge=0, le=10_000, description="How long to wait for `min_version`, in milliseconds.")] = (
        500
    )


class KeyReadQuery(ReadQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which key to read, and how new it must be."""

    key: KeyParameter


# --- bodies -----------------------------------------------------------------------------------------------------------


class PutData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key, its value and how long it lives."""

    key: Key
    value: JsonValue
    ttl: Ttl = None


class PutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `PUT /kv` takes."""

    data: PutData
