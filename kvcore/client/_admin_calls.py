"""The requests of the administration, and how their answers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from kvcore.client._admin_values import BrokenPlugin, DeadLetter, Plugin, Plugins, QueueStats, Setting
from kvcore.client._answers import problem_of, refuse, understood
from kvcore.client._calls import Call, shown_value
from kvcore.client._retrying import Retrying, Steps
from kvcore.errors import RequestError
from kvcore.model import JSON
from kvcore.problem_types import uri_of

__all__ = (
    "cache_clearing",
    "config",
    "dead_letter",
    "dead_letters",
    "lag",
    "plugins",
    "purge",
    "queue",
    "settle",
)

T = TypeVar("T")

_TYPE: Final = {"Content-Type": JSON}
_NO_LETTER: Final = uri_of("no-such-dead-letter")
_AT_ONCE: Final = 1000
"""Dead letters that one request names at most."""
_PROBE_S: Final = 5.0
"""How long a node waits for its probe to come back."""
_PATIENCE_S: Final = 30.0
"""How long a node may take for what takes the longer the more there is."""


class Data(msgspec.Struct, Generic[T], frozen=True):
    """An answer that has nothing but data."""

    data: T


class PluginsBody(msgspec.Struct, frozen=True):
    """Plugins as they are sent."""

    data: list[Plugin]
    broken: list[BrokenPlugin]


class Lag(msgspec.Struct, frozen=True):
    """How long a write takes to the store."""

    lag_s: float


class Settled(msgspec.Struct, frozen=True):
    """How many dead letters went back on the queue, or were forgotten."""

    replayed: int = 0
    discarded: int = 0


class Portion(msgspec.Struct, frozen=True):
    """How much was purged, and whether there is more."""

    removed: int
    more: bool


class LetterBody(msgspec.Struct, frozen=True):
    """A dead letter as it is sent."""

    id: str
    key: str
    op: Literal["put", "delete"]
    version: str
    reason: str
    size: int
    media_type: str | None = None
    expires_at: datetime | None = None
    condition: str | None = None
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    value_base64: bytes | None = None


def config() -> Call[list[Setting]]:
    """Ask for the settings in force."""
    return _get("/config", list[Setting], lambda found: found)


def plugins() -> Call[Plugins]:
    """Ask for the plugins."""

    def read(answer: httpx.Response) -> Plugins:
        refuse(answer)
        body = understood(answer, PluginsBody)
        return Plugins(loaded=body.data, broken=body.broken)

    return Call(method="GET", target="/admin/plugins", read=read)


def cache_clearing() -> Call[None]:
    """Clear the cache. Twice is as good as once."""
    return Call(
        method="POST",
        target="/admin/cache/clear",
        headers=_TYPE,
        body=b"{}",
        writes=True,
        wait_s=_PATIENCE_S,
        read=refuse,
    )


def queue() -> Call[QueueStats]:
    """Ask for the queue in numbers."""
    return _get("/queue", QueueStats, lambda found: found)


def lag() -> Call[float]:
    """Send a probe through the queue."""

    def read(answer: httpx.Response) -> float:
        refuse(answer)
        return understood(answer, Data[Lag]).data.lag_s

    return Call(method="GET", target="/admin/queue/lag", read=read, wait_s=_PROBE_S, once=True)


def dead_letters(limit: int) -> Call[list[DeadLetter]]:
    """List dead letters."""
    return _get(f"/dead-letters?limit={limit}", list[LetterBody], lambda found: list(map(_letter, found)))


def dead_letter(id: str) -> Call[DeadLetter | None]:  # noqa: A002 - what it is called everywhere
    """Show a dead letter."""
    known = _get(f"/dead-letters/{_quoted(id)}", LetterBody, _letter)

    def read(answer: httpx.Response) -> DeadLetter | None:
        if answer.status_code == httpx.codes.NOT_FOUND and problem_of(answer).type == _NO_LETTER:
            return None
        return known.read(answer)

    return msgspec.structs.replace(known, read=read)


def settle(retrying: Retrying, how: Literal["replay", "discard"], ids: Iterable[str]) -> Steps[int]:
    """Put dead letters back on the queue, or forget them, and return how many.

    Either may be sent twice: what is not there any more is passed over, and of what is replayed twice the store's guard
    applies one.
    """
    count = 0
    for some in _portions(ids):
        done = yield from retrying.result(_post(f"/dead-letters/{how}", {"ids": some}, Settled))
        count += done.replayed + done.discarded
    return count


def purge(retrying: Retrying, progress: Callable[[int], object] | None) -> Steps[int]:
    """Purge one portion after the other until nothing is left, and return how much was removed."""
    removed = 0
    while True:
        portion = yield from retrying.result(_post("/purge", {}, Portion))
        removed += portion.removed
        if progress:
            progress(removed)
        if not portion.more:
            return removed


def _get(path: str, form: Any, made: Callable[[Any], T]) -> Call[T]:
    def read(answer: httpx.Response) -> T:
        refuse(answer)
        return made(understood(answer, Data[form]).data)

    return Call(method="GET", target=f"/admin{path}", read=read, wait_s=_PATIENCE_S)


def _post(path: str, body: dict[str, Any], form: type[T]) -> Call[T]:
    def read(answer: httpx.Response) -> T:
        refuse(answer)
        return understood(answer, Data[form]).data  # type: ignore[valid-type]  # a type that is known when it runs

    return Call(
        method="POST",
        target=f"/admin{path}",
        headers=_TYPE,
        body=msgspec.json.encode(body),
        writes=True,
        wait_s=_PATIENCE_S,
        read=read,
    )


def _portions(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    rest = iter(ids)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _quoted(id: str) -> str:  # noqa: A002 - what it is called everywhere
    if not id or id.strip(".") == "":
        raise RequestError(f"{id!r} names no dead letter")  # and would be another path
    return quote(id, safe="")


def _letter(sent: LetterBody) -> DeadLetter:
    value = shown_value(sent.version, sent.media_type or JSON, sent.expires_at, sent.value, sent.value_base64)
    return DeadLetter(
        id=sent.id,
        key=sent.key,
        op=sent.op,
        version=sent.version,
        reason=sent.reason,
        size_bytes=sent.size,
        media_type=sent.media_type,
        expires_at=sent.expires_at,
        condition=sent.condition,
        value=value,
    )
