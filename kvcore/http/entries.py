"""How entries look in JSON: the value as it is where it is JSON, and in base64 where it is anything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from kvcore.model import JSON, Entry

__all__ = ("moment", "value_members")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(unix_ms: int | None) -> datetime | None:
    """Return a time of an entry as one that is encoded by RFC 3339."""
    return None if unix_ms is None else _EPOCH + timedelta(milliseconds=unix_ms)


def value_members(entry: Entry) -> tuple[Raw | UnsetType, bytes | UnsetType]:
    """Return the members `value` and `value_base64` of an entry that has a value: one of them is set."""
    value = entry.value or b""
    return (msgspec.Raw(value), UNSET) if entry.media_type == JSON else (UNSET, value)
