"""Reading requests strictly: whatever is malformed, unknown or said twice is refused, and nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request
from litestar.types import Receive

from kvcore.backends import Limits
from kvcore.http.forms import PutBody, PutData
from kvcore.http.headers import RawHeaders
from kvcore.http.problems import BodyTooLargeError, InvalidRequestError
from kvcore.http.strict_json import check_content, check_depth
from kvcore.problem_types import ProblemName

__all__ = (
    "RAW_PREFIX",
    "AnyRequest",
    "body_limit",
    "check_json",
    "parse_json",
    "parse_put",
    "read_body",
    "read_key",
    "read_query",
    "read_rest",
)

RAW_PREFIX: Final = "/kv/"
"""What the path of the raw form begins with. The rest is a key, as it stands in the request: see `read_key`."""
MAX_DEPTH: Final = 64
_ENVELOPE_DEPTH: Final = 2
_ENVELOPE_BYTES: Final = 4096
_JSON_ESCAPE: Final = 6
"""One byte of a key takes up to six in JSON: \\u0001."""

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)
AnyRequest = Request[Any, Any, Any]


# --- queries ----------------------------------------------------------------------------------------------------------

_AT_PARAMETER: Final = re.compile(r" - at `\$\.(\w+)`$")
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
        query = msgspec.convert(found, form, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(_told(error, form, found)) from None
    for name, text in found.items():
        value = getattr(query, name)
        # What msgspec takes for numbers and for nothing besides: "1e3" and "null".
        if value is None or (type(value) is int and not text.isdecimal()):
            raise InvalidRequestError(_wants(form, name))
    return query


def _told(error: msgspec.ValidationError, form: type[msgspec.Struct], found: Mapping[str, str]) -> str:
    """Return the sentence that says what is wrong with a query."""
    fields = form.__struct_fields__
    if unknown := next((name for name in found if name not in fields), None):
        return f"there is no query parameter {_shown(unknown)} here, but {', '.join(fields) or 'none at all'}"
    if wrong := _AT_PARAMETER.search(str(error)):
        return _wants(form, wrong[1])
    return f"in the query: {_cut(error)}"


def _wants(form: type[msgspec.Struct], name: str) -> str:
    """Return the sentence that says what a query parameter is to be."""
    schema = msgspec.json.schema_components([form])[1][form.__name__]["properties"][name]
    kind = next((option for option in schema.get("anyOf", ()) if option != {"type": "null"}), schema)
    choices = [choice for choice in kind.get("enum", ()) if choice is not None]
    if choices:
        wanted = f"is {' or '.join(choices)}"
    elif kind["type"] == "boolean":
        wanted = "is true or false"
    elif kind["type"] == "integer":
        bounds = [f"{word} {kind[name]}" for word, name in (("from", "minimum"), ("to", "maximum")) if name in kind]
        wanted = " ".join(("is a whole number", *bounds))
    else:
        wanted = "has another form"
    return f"the query parameter '{name}' {wanted}. {schema.get('description', '')}".rstrip()


def read_key(raw_path: bytes) -> str:
    """Return the key that the path of the raw form names. Nothing but percent-encoding is taken away: a plus is a plus.

    Raises:
        InvalidRequestError: the encoding is broken, or the path begins with another spelling of the prefix.
    """
    return read_rest(raw_path, _RAW_PREFIX)


_RAW_PREFIX: Final = RAW_PREFIX.encode()


def read_rest(raw_path: bytes, prefix: bytes) -> str:
    """Return what a path names behind a prefix.

    Raises:
        InvalidRequestError: the encoding is broken, or the path begins with another spelling of the prefix.
    """
    if not raw_path.startswith(prefix):
        raise InvalidRequestError(
            f"this path begins with {prefix.decode()}, in plain letters", problem="no-such-resource"
        )
    return _percent_decoded(raw_path[len(prefix) :], "path")


def _decoded(raw: bytes) -> str:
    return _percent_decoded(raw.replace(b"+", b" ") if b"+" in raw else raw, "query")


def _percent_decoded(raw: bytes, where: str) -> str:
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            raise InvalidRequestError(f"the {where} has a % that is not followed by two hex digits: write %25 for a %")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"the {where} is not UTF-8 when percent-decoded") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _cut(error: Exception) -> str:
    """Return a message, without all of what was sent if it repeats that."""
    text = str(error)
    return text if len(text) <= 200 else text[:200] + "…"


# --- bodies -----------------------------------------------------------------------------------------------------------


_PUT_BODY: Final = msgspec.json.Decoder(PutBody)
_ANY_BODY: Final = msgspec.json.Decoder(msgspec.Raw)


def body_limit(limits: Limits) -> int:
    """Return the most bytes of a body whose key and value are within the limits of keys and values."""
    return limits.max_value_bytes + _JSON_ESCAPE * limits.max_key_bytes + _ENVELOPE_BYTES


async def read_body(
    receive: Receive, headers: RawHeaders, limit: int, *, too_large: ProblemName = "body-too-large"
) -> bytes:
    """Read a body of at most `limit` bytes, and none of one that says that it is larger.

    Raises:
        BodyTooLargeError: it is larger, which is the problem `too_large`.
        InvalidRequestError: the connection ends before the body does.
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
        raise BodyTooLargeError(limit, problem=too_large)
    return b"".join(parts)


def parse_put(body: bytes) -> PutData:
    """Parse the body of `PUT /kv`.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it, or does not have the form.
    """
    return parse_json(body, _PUT_BODY).data


def check_json(value: bytes) -> None:
    """Return if a value may be shown inside a JSON document: it is what `PUT /kv` would take for one.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it.
    """
    parse_json(value, _ANY_BODY, MAX_DEPTH - _ENVELOPE_DEPTH)


def parse_json(body: bytes, decoder: msgspec.json.Decoder[T], levels: int = MAX_DEPTH) -> T:
    """Parse a body of at most so many levels into the form of a decoder.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it, or does not have the form.
    """
    check_depth(body, levels)
    if not body:
        raise InvalidRequestError("the body is empty", problem="invalid-json")
    try:
        parsed = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"in the body: {_cut(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", problem="invalid-json") from None
    check_content(body)
    return parsed
