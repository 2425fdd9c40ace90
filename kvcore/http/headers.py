"""Reading header fields strictly: conditions that cannot be honoured are refused, and nothing is taken that is said twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final

import msgspec

from kvcore.clock import is_version
from kvcore.http.problems import InvalidRequestError
from kvcore.model import JSON, PRESENT, ZERO, Version

__all__ = (
    "Condition",
    "RawHeaders",
    "ReadHeaders",
    "WriteHeaders",
    "asks_for_store",
    "check_json_sent",
    "http_date",
    "is_idempotency_key",
    "read_headers",
    "read_media_type",
    "write_headers",
)

RawHeaders = Iterable[tuple[bytes, bytes]]

_ETAG: Final = re.compile(r'"([0-9a-f]{24})"')
_ENTITY_TAGS: Final = re.compile(r'\*|(?:[ \t,]*+(?:W/)?"[!#-~\x80-\xff]*+")++[ \t,]*+')
"""What If-None-Match may be (RFC 9110, section 13.1.2), by this service or by another; an empty list is one too."""
_NOT_FOR_READS: Final = frozenset((b"if-match", b"if-unmodified-since", b"idempotency-key"))
_SAID_ONCE: Final = frozenset(
    (
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"idempotency-key",
        b"content-encoding",
        b"content-type",
    )
)
_IDEMPOTENCY_KEY: Final = re.compile(rb'[!#-~]{1,255}|"[!#-~]{1,255}"')
_NAME: Final = re.compile(r"[!#-~]{1,255}")


class ReadHeaders(msgspec.Struct, frozen=True, gc=False):
    """What the header fields of a read ask for: what the store has, and nothing if it is what the reader holds already."""

    from_store: bool = False
    if_none_match: str = ""

    def holds(self, version: Version) -> bool:
        """Tell whether the reader has this version."""
        return self.if_none_match == "*" or version in _ETAG.findall(self.if_none_match)


def read_headers(headers: RawHeaders) -> ReadHeaders:
    """Read the header fields of a read.

    Raises:
        InvalidRequestError: there is a condition or an Idempotency-Key, which reads do not take, and must not ignore; or
            If-None-Match is none.
    """
    from_store, held = False, ""
    for name, value in headers:
        if name == b"cache-control":
            from_store = from_store or _says_no_cache(value)
        elif name == b"if-none-match":
            held = f"{held},{value.decode('latin-1')}" if held else value.decode("latin-1").strip()
        elif name in _NOT_FOR_READS:
            raise InvalidRequestError(f"a read takes no {name.decode().title()}: it takes If-None-Match")
    if held and not _ENTITY_TAGS.fullmatch(held):
        raise InvalidRequestError('If-None-Match takes ETags as this service gives them ("24 hex digits"), or *')
    return ReadHeaders(from_store, held)


def asks_for_store(headers: RawHeaders) -> bool:
    """Tell whether what is read shall be what the store has."""
    return any(name == b"cache-control" and _says_no_cache(value) for name, value in headers)


def _says_no_cache(value: bytes) -> bool:
    return b"no-cache" in {part.strip() for part in value.lower().split(b",")}


class Condition(msgspec.Struct, frozen=True, gc=False):
    """What a write expects of its key, as a mutation's `expected`, and the name that its client has given it; b"": none."""

    expected: Version | None = None
    idempotency_key: bytes = b""

    def refuse(self, what: str) -> None:
        """Return if there is neither a condition nor an Idempotency-Key, which a request for many keys cannot have.

        Raises:
            InvalidRequestError: there is one.
        """
        if self.expected is not None or self.idempotency_key:
            raise InvalidRequestError(f"{what} has no condition and no Idempotency-Key as a whole")


class WriteHeaders(msgspec.Struct, frozen=True, gc=False):
    """What the header fields of a write say: its condition, and of what kind its body is."""

    condition: Condition
    content_type: bytes = b""


def write_headers(headers: RawHeaders) -> WriteHeaders:
    """Read the header fields of a write.

    Raises:
        InvalidRequestError: one is wrong, given twice or cannot be honoured.
    """
    said: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _SAID_ONCE:
            if name in said:
                raise InvalidRequestError(f"{name.decode().title()} is given twice")
            said[name] = value.strip()
        elif name == b"content-range":
            raise InvalidRequestError(
                "a part of a value can be neither written nor deleted: leave out Content-Range, and send the whole"
            )
    encoding = said.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise InvalidRequestError(
            f"the body is sent with Content-Encoding {encoding[:40].decode('latin-1')}: send it plain",
            problem="unsupported-encoding",
        )
    return WriteHeaders(Condition(_expected(said), _idempotency_key(said)), said.get(b"content-type", b""))


def _expected(said: Mapping[bytes, bytes]) -> Version | None:
    match, none_match = said.get(b"if-match"), said.get(b"if-none-match")
    if b"if-modified-since" in said or b"if-unmodified-since" in said:
        raise InvalidRequestError("a write takes no condition on a time: take If-Match with an ETag")
    if match is not None and none_match is not None:
        raise InvalidRequestError("a write takes one condition: If-Match or If-None-Match")
    if none_match is not None:
        if none_match != b"*":
            raise InvalidRequestError("a write takes If-None-Match: * only (create, do not overwrite)")
        return ZERO
    if match is None:
        return None
    text = match.decode("latin-1")
    if text == "*":
        return PRESENT
    version = text[1:-1]
    if text != f'"{version}"' or not is_version(version) or version == ZERO:
        raise InvalidRequestError('If-Match takes one ETag as this service gives them ("24 hex digits"), or *')
    return Version(version)


def _idempotency_key(said: Mapping[bytes, bytes]) -> bytes:
    key = said.get(b"idempotency-key")
    if key is None:
        return b""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequestError("an Idempotency-Key is 1 to 255 visible ASCII characters, in quotes or not")
    return key.strip(b'"')


def is_idempotency_key(text: str) -> bool:
    """Tell whether a text without quotes is an Idempotency-Key."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _date_of(unix_s: int) -> bytes:
    return formatdate(unix_s, usegmt=True).encode()


def http_date(unix_s: float) -> bytes:
    """Return a time, in seconds since 1970, as HTTP wants it: "Sun, 06 Nov 1994 08:49:37 GMT"."""
    return _date_of(int(unix_s))


_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# As in RFC 9110; nothing is tried twice (`*+`), so that no text takes long.
_MEDIA_TYPE: Final = re.compile(
    rb"TOKEN/TOKEN(?:[ \t]*+;[ \t]*+(?:TOKEN=(?:TOKEN|\"(?:[ !#-\[\]-~]|\\[ -~])*+\"))?)*+".replace(b"TOKEN", _TOKEN)
)
_MAX_MEDIA_TYPE_BYTES: Final = 255
_JSON_TYPES: Final = frozenset(
    (b"application/json", b"application/json;charset=utf-8", b'application/json;charset="utf-8"')
)


@lru_cache(maxsize=256)
def read_media_type(content_type: bytes) -> str:
    """Return the media type of a value, as it was sent; that of JSON in one spelling.

    Raises:
        InvalidRequestError: it is none, or too long.
    """
    if not content_type:
        return "application/octet-stream"
    if len(content_type) > _MAX_MEDIA_TYPE_BYTES or not _MEDIA_TYPE.fullmatch(content_type):
        raise InvalidRequestError(f"Content-Type is no media type of at most {_MAX_MEDIA_TYPE_BYTES} bytes")
    if content_type.lower().replace(b" ", b"") in _JSON_TYPES:
        return JSON
    return content_type.decode()


def check_json_sent(headers: RawHeaders, what: str) -> None:
    """Return if a request for many keys or for none is sent as JSON, and has no condition as a whole.

    Raises:
        InvalidRequestError: it has one, or is not sent as JSON: no web page shall have a browser send it unasked.
    """
    said = write_headers(headers)
    said.condition.refuse(what)
    if not said.content_type or read_media_type(said.content_type) != JSON:
        raise InvalidRequestError(f"send it with Content-Type: {JSON}", problem="unsupported-media-type")
