"""Every request there is, and how its answer is read: all of the client but the sending."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec

from kvcore.client._answers import NO_KEY, problem_of, refuse, refuse_unexplained, stranger, understood, version_of
from kvcore.client._memory import Memory
from kvcore.client._values import CacheStats, Health, Listed, Value, Written
from kvcore.errors import ConditionFailedError, InvalidKeyError, RequestError
from kvcore.model import JSON
from kvcore.problem_types import uri_of

__all__ = ("Ack", "Call", "Calls", "DeletedPage", "Held", "Page", "body_of", "check_text", "check_ttl", "shown_value")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ack = Literal["accepted", "stored"]
Held = TypeVar("Held", bound=Value | str | None)
"""What a reader has already: a value, or its version."""
Bytes = bytes | bytearray | memoryview

_BYTES: Final = "application/octet-stream"
_NOT_READY: Final = uri_of("draining")
_VISIBLE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


class Call(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """A request, and what makes its result of the answer, or raises.

    `repeatable`: sending it twice is the same as sending it once. `once`: it is never sent again, since the node has done
    the waiting. `writes`: it may change something. `wait_s`: how long the node may take before it answers.
    """

    method: str
    target: str
    read: Callable[[httpx.Response], T_co]
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    repeatable: bool = True
    once: bool = False
    writes: bool = False
    wait_s: float = 0.0


class Page(msgspec.Struct, frozen=True):
    """A part of a listing, and the cursor of the next one; None: it was the last."""

    lines: list[Listed]
    cursor: str | None


class Deleted(msgspec.Struct, frozen=True):
    """How many keys of a page were deleted."""

    deleted: int


class DeletedPage(msgspec.Struct, frozen=True):
    """What became of a page; `cursor` None: it was the last one."""

    data: Deleted
    cursor: str | None


class WrittenData(msgspec.Struct, frozen=True):
    """What was written."""

    key: str
    version: str


class WrittenBody(msgspec.Struct, frozen=True):
    """The answer to a write."""

    data: WrittenData
    detail: str


class Line(msgspec.Struct, frozen=True):
    """A line of a listing as it is sent."""

    key: str
    version: str
    size: int
    media_type: str
    expires_at: datetime | None = None
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    value_base64: bytes | None = None


class PageBody(msgspec.Struct, frozen=True):
    """A part of a listing as it is sent."""

    data: list[Line]
    cursor: str | None


class Calls:
    """Makes calls; with a memory, those of a session."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory

    def get(
        self, key: str, *, min_version: str | None, wait_s: float, from_store: bool, if_none_match: Held
    ) -> Call[Value | Held | None]:
        """Read a key."""
        held = if_none_match.version if isinstance(if_none_match, Value) else if_none_match
        headers = {} if held is None else {"If-None-Match": f'"{held}"'}

        def read(answer: httpx.Response) -> Value | Held | None:
            if answer.status_code == httpx.codes.NOT_MODIFIED and held is not None:
                self._note(key, held)
                return if_none_match
            value = _value_of(answer)
            if value is not None:
                self._note(key, value.version)
            return value

        return self._read("GET", key, headers, min_version, wait_s, read, from_store=from_store)

    def head(self, key: str, *, min_version: str | None, wait_s: float, from_store: bool) -> Call[Listed | None]:
        """Read what there is to know of a key but its value.

        None: something else is answered, and what it is only `get` tells, since an answer to HEAD has no body.
        """

        def read(answer: httpx.Response) -> Listed | None:
            refuse_unexplained(answer)
            version, size = version_of(answer), str(answer.headers.get("content-length", ""))
            if answer.status_code != httpx.codes.OK or version is None or not size.isdecimal():
                return None
            self._note(key, version)
            return Listed(
                key=key,
                version=version,
                size_bytes=int(size),
                media_type=answer.headers.get("content-type", _BYTES),
                expires_at=_end_of(answer),
            )

        # Compressed, it would not have the size of the value.
        return self._read(
            "HEAD", key, {"Accept-Encoding": "identity"}, min_version, wait_s, read, from_store=from_store
        )

    def put(
        self,
        key: str,
        value: Any,
        *,
        media_type: str | None,
        ttl_s: int | None,
        ack: Ack | None,
        if_match: str | None,
        if_absent: bool,
        idempotency_key: str | bool,
    ) -> Call[Written]:
        """Write a key."""
        check_ttl(ttl_s)
        body, media_type = body_of(value, media_type)
        headers = {"Content-Type": media_type}
        if if_absent:
            if if_match is not None:
                raise RequestError("a write has one condition: if_match or if_absent")
            headers["If-None-Match"] = "*"
        return self._write("PUT", key, {"ttl": ttl_s, "ack": ack}, headers, if_match, idempotency_key, body)

    def delete(self, key: str, *, ack: Ack | None, if_match: str | None, idempotency_key: str | bool) -> Call[Written]:
        """Delete a key."""
        return self._write("DELETE", key, {"ack": ack}, {}, if_match, idempotency_key, None)

    def page(self, prefix: str, *, values: bool, limit: int, cursor: str | None) -> Call[Page]:
        """List a page of keys."""
        check_text(prefix, "prefix")
        query = {"prefix": prefix, "limit": limit, "cursor": cursor, "values": "true" if values else None}
        return Call(method="GET", target="/keys" + _query(query), read=_page_of)

    def delete_page(self, prefix: str, *, ack: Ack | None, cursor: str | None) -> Call[DeletedPage]:
        """Delete a page of keys."""
        check_text(prefix, "prefix")
        query = {"prefix": prefix, "limit": 1000, "cursor": cursor, "ack": ack}
        return Call(method="DELETE", target="/keys" + _query(query), writes=True, read=_reading(DeletedPage))

    def batch(
        self, body: bytes, *, ack: Ack | None, writes: bool, repeatable: bool, read: Callable[[httpx.Response], T]
    ) -> Call[T]:
        """Do many operations."""
        return Call(
            method="POST",
            target="/batch" + _query({"ack": ack}),
            headers={"Content-Type": JSON},
            body=body,
            writes=writes,
            repeatable=repeatable,
            read=read,
        )

    def health(self) -> Call[Health]:
        """Ask for the health, which an unhealthy node tells too, by a 503 that is no problem document."""

        def read(answer: httpx.Response) -> Health:
            if str(answer.headers.get("content-type", "")).partition(";")[0] != JSON:
                refuse(answer)
            return understood(answer, Health)

        return Call(method="GET", target="/health", read=read)

    def is_ready(self) -> Call[bool]:
        """Ask whether the node wants requests, which one that does not tells by a 503."""

        def read(answer: httpx.Response) -> bool:
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and problem_of(answer).type == _NOT_READY:
                return False
            refuse(answer)
            return True

        return Call(method="GET", target="/health/ready", read=read)

    def metrics(self) -> Call[str]:
        """Ask for the node in numbers."""

        def read(answer: httpx.Response) -> str:
            refuse(answer)
            return answer.text

        return Call(method="GET", target="/metrics", read=read)

    def cache_stats(self) -> Call[CacheStats]:
        """Ask for the cache in numbers."""
        return Call(method="GET", target="/cache/stats", read=_reading(CacheStats))

    def _read(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        min_version: str | None,
        wait_s: float,
        read: Callable[[httpx.Response], T],
        *,
        from_store: bool,
    ) -> Call[T]:
        known = self.memory.newest(key) if self.memory else None
        wanted = max(min_version or "", known or "")
        query = f"?min_version={quote(wanted, safe='')}&wait={round(wait_s * 1000)}" if wanted else ""
        if from_store:
            headers["Cache-Control"] = "no-cache"
        return Call(
            method=method,
            target=_path(key) + query,
            headers=_checked(headers),
            read=read,
            wait_s=wait_s if wanted else 0.0,
        )

    def _write(
        self,
        method: str,
        key: str,
        query: Mapping[str, object],
        headers: dict[str, str],
        if_match: str | None,
        idempotency_key: str | bool,
        body: bytes | None,
    ) -> Call[Written]:
        if if_match is not None:
            if not isinstance(if_match, str):
                raise TypeError(
                    f"if_match is a version, such as `value.version`, and this is {type(if_match).__name__}"
                )
            headers["If-Match"] = if_match if if_match == "*" else f'"{if_match}"'
        conditional = "If-Match" in headers or "If-None-Match" in headers
        if isinstance(idempotency_key, str):
            headers["Idempotency-Key"] = idempotency_key
        elif conditional and idempotency_key:
            headers["Idempotency-Key"] = uuid4().hex

        def read(answer: httpx.Response) -> Written:
            try:
                written = _written_of(answer)
            except ConditionFailedError as error:
                if error.version is not None:
                    self._note(key, error.version)  # so that whoever reads again, to decide again, sees it
                raise
            self._note(key, written.version)
            return written

        return Call(
            method=method,
            target=_path(key) + _query(query),
            headers=_checked(headers),
            body=body,
            writes=True,
            repeatable=not conditional or "Idempotency-Key" in headers,
            read=read,
        )

    def _note(self, key: str, version: str) -> None:
        if self.memory:
            self.memory.note(key, version)


def check_text(given: object, name: str = "key") -> None:
    """Return if a key or prefix is text.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(given, str):
        raise TypeError(f"a {name} is a str, and this is {type(given).__name__}, {given!r}: make text of it first")


def check_ttl(ttl_s: object) -> None:
    """Return if a time to live is a whole number, or None; whether it is neither too short nor too long the node knows.

    Raises:
        TypeError: it is not.
    """
    if ttl_s is not None and (not isinstance(ttl_s, int) or isinstance(ttl_s, bool)):
        raise TypeError(
            f"ttl_s is whole seconds as an int, and this is {type(ttl_s).__name__}, {ttl_s!r}: round it first"
        )


def body_of(value: Any, media_type: str | None) -> tuple[bytes, str]:
    """Return what to send for a value, and its media type: bytes as they are, everything else as JSON.

    Raises:
        RequestError: it cannot be written as JSON, or has a media type and is not bytes.
    """
    if isinstance(value, Bytes):
        return bytes(value), media_type or _BYTES
    if media_type is not None:
        raise RequestError(f"a value with a media type is bytes, and this is {type(value).__name__}: encode it")
    try:
        _check_json(value)
        return msgspec.json.encode(value), JSON
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise RequestError(f"the value cannot be written as JSON: {error}") from None


def _check_json(value: Any) -> None:
    """Return if a value comes back from JSON as it is, but for a tuple as a list.

    msgspec would write more: sets as lists, dates and bytes as text, NaN as null, a key 1 as "1". That would be another value.

    Raises:
        TypeError, ValueError: it does not.
    """
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the name of a member is a str, and {key!r} is none")
            _check_json(member)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no {value}")
    elif not (value is None or isinstance(value, str | int | msgspec.Raw)):
        raise TypeError(f"JSON has no {type(value).__name__}: make it of dicts, lists, text and numbers")


def shown_value(
    version: str, media_type: str, expires_at: datetime | None, value: msgspec.Raw, value_base64: bytes | None
) -> Value | None:
    """Return a value as it stands in a JSON answer, as JSON or else in base64; None where it does not."""
    data = value_base64 if value_base64 is not None else bytes(value) or None
    return None if data is None else Value(data=data, media_type=media_type, version=version, expires_at=expires_at)


def _path(key: str) -> str:
    """Return the path of a key, in which nothing but letters, digits, `_-~` and harmless dots stands for itself.

    Raises:
        InvalidKeyError: it has no path.
        TypeError: it is not text.
    """
    check_text(key)
    if not key:
        raise InvalidKeyError("a key has at least one character")
    quoted = _quoted(key, "key")
    # Clients and proxies take away path segments that are dots, also such as they see behind an escaped slash.
    if {".", ".."} & set(key.split("/")):
        quoted = quoted.replace(".", "%2E")
    return f"/kv/{quoted}"


def _query(parameters: Mapping[str, object]) -> str:
    given = [f"{name}={_quoted(str(value), name)}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given) if given else ""


def _quoted(text: str, name: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidKeyError(f"the {name} holds half of a surrogate pair, and cannot be written as UTF-8") from None


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in headers.items():
        if not _VISIBLE.fullmatch(text):
            raise RequestError(f"{name} is visible ASCII, and this is not: {text!r}")
    return headers


def _reading(form: type[T]) -> Callable[[httpx.Response], T]:
    def read(answer: httpx.Response) -> T:
        refuse(answer)
        return understood(answer, form)

    return read


def _value_of(answer: httpx.Response) -> Value | None:
    if answer.status_code == httpx.codes.NOT_FOUND and problem_of(answer).type == NO_KEY:
        return None
    refuse(answer)
    version = version_of(answer)
    if version is None or answer.status_code != httpx.codes.OK:
        raise stranger(answer)
    return Value(
        data=answer.content,
        media_type=answer.headers.get("content-type", _BYTES),
        version=version,
        expires_at=_end_of(answer),
    )


def _end_of(answer: httpx.Response) -> datetime | None:
    text = answer.headers.get("expires-at")
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise stranger(answer) from None


def _written_of(answer: httpx.Response) -> Written:
    refuse(answer)
    body = understood(answer, WrittenBody)
    return Written(
        key=body.data.key,
        version=body.data.version,
        stored=body.detail == "stored",
        created=answer.status_code == httpx.codes.CREATED,
    )


def _page_of(answer: httpx.Response) -> Page:
    refuse(answer)
    body = understood(answer, PageBody)
    lines = [
        Listed(
            key=line.key,
            version=line.version,
            size_bytes=line.size,
            media_type=line.media_type,
            expires_at=line.expires_at,
            value=shown_value(line.version, line.media_type, line.expires_at, line.value, line.value_base64),
        )
        for line in body.data
    ]
    return Page(lines, body.cursor)
