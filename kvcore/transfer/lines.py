"""A key as a line of JSON, from which it comes back byte for byte.

A JSON value stands in the line as it was written, unparsed: a number keeps its digits, a string its escapes. What a line
of JSON cannot hold that way (other bytes, a line end, white space around the value) stands there in base64.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from kvcore.client import Value
from kvcore.model import JSON

__all__ = ("Item", "UnreadableError", "item_of", "line_of")


class UnreadableError(ValueError):
    """A line, or record, is not what it must be; the message says why."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """A key to be imported. `version` and `expires_at` are those that it had; `dropped`: what kvcore has nothing for."""

    key: str
    value: bytes
    media_type: str
    version: str | None = None
    expires_at: datetime | None = None
    dropped: str = ""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A key as it stands in a file."""

    key: str
    value: Raw | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET
    media_type: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def line_of(key: str, value: Value) -> bytes:
    """Return a key as a line, with its end."""
    inline = value.media_type == JSON and _fits_a_line(value.data)
    line = Line(
        key=key,
        value=Raw(value.data) if inline else UNSET,
        value_base64=UNSET if inline else value.data,
        media_type=value.media_type,
        version=value.version,
        expires_at=value.expires_at,
    )
    return _encode(line) + b"\n"


def item_of(line: bytes) -> Item:
    """Return the key that a line holds.

    Raises:
        UnreadableError: it holds none.
    """
    parsed = _parsed(line)
    value, given = parsed.value, parsed.value_base64
    if isinstance(value, Raw) == isinstance(given, bytes):
        raise UnreadableError("a line has one of value and value_base64")
    media_type = parsed.media_type or (JSON if isinstance(value, Raw) else "application/octet-stream")
    if isinstance(value, Raw) and media_type != JSON:
        raise UnreadableError(f"a value of the media type {media_type} stands in value_base64")
    return Item(
        key=parsed.key,
        value=bytes(value) if isinstance(value, Raw) else given or b"",
        media_type=media_type,
        version=parsed.version or None,
        expires_at=parsed.expires_at,
    )


def _parsed(line: bytes) -> Line:
    try:
        line.decode()  # msgspec does not look into a value that it leaves as it is
        parsed = _decode(line)
        if _encode(parsed) != line:  # kvctl did not write it, so it may have a member twice
            json.loads(line, object_pairs_hook=_refuse_duplicates, parse_int=str, parse_float=str)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"this is not UTF-8, at byte {error.start + 1}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from None
    return parsed


def _fits_a_line(value: bytes) -> bool:
    """Tell whether JSON comes back from a line as it is: a reader drops the white space around it."""
    if b"\n" in value or b"\r" in value or value.strip(b" \t") != value:
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return bool(value)


def _refuse_duplicates(members: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in members]
    if len(set(names)) < len(names):
        raise UnreadableError("a member of an object is given twice")
