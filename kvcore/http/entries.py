"""How entries look in JSON: the value as it is where it is JSON, and in base64 where it is anything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import UNSET, Raw, UnsetType

from kvcore.http.headers import read_media_type
from kvcore.http.problems import InvalidRequestError
from kvcore.http.requests import check_json
from kvcore.model import JSON, Entry

__all__ = ("moment", "unix_ms_of", "value_members", "value_of")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def moment(unix_ms: int | None) -> datetime | None:
    """Return a time of an entry as one that is encoded by RFC 3339."""
    return None if unix_ms is None else _EPOCH + timedelta(milliseconds=unix_ms)


def unix_ms_of(moment: datetime | None) -> int | None:
    """Return a time that was given by RFC 3339 as one of an entry."""
    return None if moment is None else (moment - _EPOCH) // _MS


def value_members(entry: Entry) -> tuple[Raw | UnsetType, bytes | UnsetType]:
    """Return the members `value` and `value_base64` of an entry that has a value: one of them is set."""
    value = entry.value or b""
    return (Raw(value), UNSET) if entry.media_type == JSON else (UNSET, value)


def value_of(value: Raw, value_base64: bytes | UnsetType, said_media_type: str | None) -> tuple[bytes, str]:
    """Return the value that is given in one of two forms, and its media type.

    Raises:
        InvalidRequestError: it is given in none or both of them, or is not of that type.
    """
    media_type = None if said_media_type is None else _media_type_of(said_media_type)
    sent = bytes(value)
    if bool(sent) == (value_base64 is not UNSET):
        raise InvalidRequestError("there must be one of value and value_base64")
    if value_base64 is UNSET:
        if media_type not in (None, JSON):
            raise InvalidRequestError(f"a value has the media_type {JSON}: send others as value_base64")
        return sent, JSON
    if media_type == JSON:
        check_json(value_base64)
    return value_base64, media_type or "application/octet-stream"


def _media_type_of(said: str) -> str:
    try:
        return read_media_type(said.encode())
    except InvalidRequestError:
        raise InvalidRequestError("media_type is none, or too long") from None
