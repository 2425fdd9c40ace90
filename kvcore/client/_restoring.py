"""Keys that are written with the versions that they had: what a backup is made whole again with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Literal

import httpx
import msgspec
from msgspec import UNSET, Raw, UnsetType

from kvcore.client._answers import Problem, error_of, refuse, stranger, understood
from kvcore.client._batches import inline_json
from kvcore.client._calls import Call
from kvcore.errors import KvcoreError, UnavailableError
from kvcore.model import JSON

__all__ = ("Restore", "Restored", "restoration")


class Restore(msgspec.Struct, frozen=True):
    """A key as it was: see `Value`."""

    key: str
    value: bytes
    media_type: str
    version: str
    expires_at: datetime | None = None


class Restored(msgspec.Struct, frozen=True):
    """What became of it: "restored", or it was left alone, since the key has a newer version or the time of its life is over."""

    key: str
    version: str
    detail: Literal["restored", "newer", "expired"]


class Entry(msgspec.Struct, frozen=True):
    """A key as it is sent."""

    key: str
    media_type: str
    version: str
    expires_at: datetime | None
    value: Raw | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET


class Line(msgspec.Struct, frozen=True):
    """The result for one key as it is sent."""

    status: int
    key: str
    version: str = ""
    detail: Literal["restored", "newer", "expired", ""] = ""
    problem: Problem | None = None


class Lines(msgspec.Struct, frozen=True):
    """The results as they are sent."""

    data: list[Line]


def restoration(entries: Iterable[Restore]) -> Call[Sequence[Restored | KvcoreError]]:
    """Restore keys. Twice is as good as once, since the store keeps the newest version.

    Raises:
        RequestError: one cannot be sent as it is.
    """
    sent = [_entry(entry) for entry in entries]
    return Call(
        method="POST",
        target="/admin/restore",
        headers={"Content-Type": JSON},
        body=msgspec.json.encode({"entries": sent}),
        writes=True,
        read=partial(_read, len(sent)),
    )


def _entry(entry: Restore) -> Entry:
    inline = inline_json(entry.key, entry.value, entry.media_type)
    return Entry(
        key=entry.key,
        media_type=entry.media_type,
        version=entry.version,
        expires_at=entry.expires_at,
        value=UNSET if inline is None else inline,
        value_base64=entry.value if inline is None else UNSET,
    )


def _read(count: int, answer: httpx.Response) -> Sequence[Restored | KvcoreError]:
    """Read the result of each key; where a tier did not do its part for one, that counts for all: they are sent again."""
    refuse(answer)
    lines = understood(answer, Lines).data
    if len(lines) != count:
        raise stranger(answer)
    results = [_result(line, answer) for line in lines]
    for result in results:
        if isinstance(result, UnavailableError):
            raise result
    return results


def _result(line: Line, answer: httpx.Response) -> Restored | KvcoreError:
    if line.problem is not None:
        return error_of(line.problem, line.status)
    if not line.detail:
        raise stranger(answer)
    return Restored(line.key, line.version, line.detail)
