"""Reading requests strictly: whatever is malformed, unknown or said twice is refused, and nothing is guessed."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterable
from itertools import accumulate, count
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.types import Receive
from msgspec import Meta

from kvcore.backends import Limits
from kvcore.clock import is_version
from kvcore.http.problems import InvalidRequestError
from kvcore.model import PRESENT, ZERO, Version
from kvcore.service import Ack

__all__ = (
    "KeyQuery",
    "NoQuery",
    "PutBody",
    "ReadQuery",
    "WriteQuery",
    "body_limit",
    "bypasses_cache",
    "matches",
    "parse_put",
    "read_body",
    "read_condition",
    "read_query",
)

MAX_DEPTH: Final = 64
_ENVELOPE_BYTES: Final = 4096
_JSON_ESCAPE: Final = 6
"""One byte of a key takes up to six in JSON: \\u0001."""
VERSION_PATTERN: Final = "^[0-9a-f]{24}$"

Q = TypeVar("Q", bound=msgspec.Struct)
RawHeaders = Iterable[tuple[bytes, bytes]]


# --- what there is to say ---------------------------------------------------------------------------------------------


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


class KeyQuery(WriteQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which key to write, and how."""

    key: Annotated[str, Meta(description="The key: 1 to 65,536 bytes of UTF-8 without NUL, percent-encoded.")]


class ReadQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which key to read, and how new it must be."""

    key: Annotated[str, Meta(description="The key: 1 to 65,536 bytes of UTF-8 without NUL, percent-encoded.")]
    min_version: Annotated[
        Annotated[str, Meta(pattern=VERSION_PATTERN, max_length=24)] | None,
        Meta(description="Answer with this version or a newer one; never with an older one."),
    ] = None
    wait: Annotated[int, Meta(ge=0, le=10_000, description="How long to wait for `min_version`, in milliseconds.")] = (
        500
    )


class PutData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key, its value and how long it lives."""

    key: Annotated[str, Meta(description="The key: 1 to 65,536 bytes of UTF-8 without NUL.")]
    value: Annotated[
        msgspec.Raw, Meta(description="Any JSON value, `null` included; kept as it was sent, byte for byte.")
    ]
    ttl: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Seconds from now after which the key reads as missing. Default: never."),
    ] = None


class PutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `PUT /kv` takes."""

    data: PutData


# --- queries ----------------------------------------------------------------------------------------------------------

_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_query(raw: bytes, form: type[Q]) -> Q:
    """Read a query string into a form.

    Raises:
        InvalidRequestError: a name is unknown, repeated or missing, a value is wrong, or the encoding is broken.
    """
    found: dict[str, str] = {}
    for part in raw.split(b"&") if raw else ():
        raw_name, _, raw_value = part.partition(b"=")
        name = _decoded(raw_name)
        if name in found:
            raise InvalidRequestError(f"the query parameter {_shown(name)} is given twice")
        found[name] = _decoded(raw_value)
    try:
        return msgspec.convert(found, form, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"in the query: {_cut(error)}") from None


def _decoded(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            raise InvalidRequestError("the query has a % that is not followed by two hex digits: write %25 for a %")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("the query is not UTF-8 when percent-decoded") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _cut(error: Exception) -> str:
    """Return a message, without all of what was sent if it repeats that."""
    text = str(error)
    return text if len(text) <= 200 else text[:200] + "…"


# --- bodies -----------------------------------------------------------------------------------------------------------


def _no_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
        raise InvalidRequestError("a member of an object is given twice", problem="invalid-json")


def _in_range(number: str) -> None:
    if math.isinf(float(number)):
        raise InvalidRequestError("a number is beyond the range of a double", problem="invalid-json")


_PUT_BODY: Final = msgspec.json.Decoder(PutBody)
# msgspec is strict about all else, but takes the last of equal members, and numbers unseen inside of a value.
_ONCE: Final = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_in_range, parse_int=_in_range)
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
# Two for each that opens and none for each that closes, less one for each: the depth.
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x02\x00\x02\x00")


def body_limit(limits: Limits) -> int:
    """Return the most bytes of a body whose key and value are within the limits of keys and values."""
    return limits.max_value_bytes + _JSON_ESCAPE * limits.max_key_bytes + _ENVELOPE_BYTES


async def read_body(receive: Receive, headers: RawHeaders, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, and none of one that says that it is larger.

    Raises:
        InvalidRequestError: it is larger, or the connection ends before it does.
    """
    said = int(next((value for name, value in headers if name == b"content-length"), b"0"))
    parts: list[bytes] = []
    received, more = 0, said <= limit
    while more and received <= limit:
        event = await receive()
        if event["type"] != "http.request":
            raise InvalidRequestError("the connection ended before the body did")
        parts.append(event["body"])
        received += len(parts[-1])
        more = event["more_body"]
    if received > limit or said > limit:
        raise InvalidRequestError(f"the body is larger than {limit} bytes", problem="body-too-large")
    return b"".join(parts)


def parse_put(body: bytes) -> PutData:
    """Parse the body of `PUT /kv`.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it, or does not have the form.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deep(body):
        raise InvalidRequestError(f"the body has more than {MAX_DEPTH} levels", problem="invalid-json")
    if not body:
        raise InvalidRequestError("the body is empty", problem="invalid-json")
    try:
        data = _PUT_BODY.decode(body).data
        _ONCE.decode(body.decode())
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"in the body: {_cut(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", problem="invalid-json") from None
    return data


def _is_deep(body: bytes) -> bool:
    """Tell whether brackets are nested deeper than the limit, in one pass: 1 MiB of brackets takes some 50 ms."""
    steps = _STRINGS.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return max(map(operator.sub, accumulate(steps), count(1)), default=0) > MAX_DEPTH


# --- conditions -------------------------------------------------------------------------------------------------------

_ETAG: Final = re.compile(r'"([0-9a-f]{24})"')


def read_condition(headers: RawHeaders) -> Version | None:
    """Return what `If-Match` or `If-None-Match` of a write expects, as a mutation's `expected`.

    Raises:
        InvalidRequestError: it is none of `If-Match: "<version>"`, `If-Match: *` and `If-None-Match: *`.
    """
    match = [value for name, value in headers if name == b"if-match"]
    none_match = [value for name, value in headers if name == b"if-none-match"]
    if not match and not none_match:
        return None
    if len(match) + len(none_match) > 1:
        raise InvalidRequestError("a write takes one condition: If-Match or If-None-Match, once")
    if none_match:
        if none_match[0].strip() != b"*":
            raise InvalidRequestError("a write takes If-None-Match: * only (create, do not overwrite)")
        return ZERO
    text = match[0].decode("latin-1").strip()
    if text == "*":
        return PRESENT
    version = text[1:-1]
    if text != f'"{version}"' or not is_version(version) or version == ZERO:
        raise InvalidRequestError('If-Match takes one ETag as this service gives them ("24 hex digits"), or *')
    return Version(version)


def matches(headers: RawHeaders, version: Version) -> bool:
    """Tell whether a read's `If-None-Match` names a version: the reader has it already."""
    for name, value in headers:
        if name == b"if-none-match":
            text = value.decode("latin-1")
            if text.strip() == "*" or version in _ETAG.findall(text):
                return True
    return False


def bypasses_cache(headers: RawHeaders) -> bool:
    """Tell whether a read asks, by `Cache-Control: no-cache`, for what the store has."""
    return any(
        name == b"cache-control" and b"no-cache" in {part.strip() for part in value.lower().split(b",")}
        for name, value in headers
    )
