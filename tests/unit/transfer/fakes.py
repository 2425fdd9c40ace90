"""A node in memory, as far as exports and imports ask anything of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs, unquote

import httpx
import msgspec

from kvcore.client import Client, Value
from kvcore.model import JSON

__all__ = ("MemoryNode", "client_of")


class Sent(msgspec.Struct):
    """An operation of a batch, or an entry to be restored."""

    key: str
    op: str = ""
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    value_base64: bytes | None = None
    media_type: str = JSON
    ttl: int | None = None
    version: str = ""
    expires_at: datetime | None = None


class Batch(msgspec.Struct):
    """A batch, or entries to be restored."""

    operations: list[Sent] = []
    entries: list[Sent] = []


class MemoryNode:
    """Keeps keys, and answers as a node does.

    `refuses`: keys that spoil the batch that they are in. `before` is called with every request, and may raise.
    """

    def __init__(self) -> None:
        self.held: dict[str, Value] = {}
        self.ttls: dict[str, int | None] = {}
        self.refuses: set[str] = set()
        self.forbids: set[str] = set()
        self.before: Callable[[httpx.Request], None] = lambda request: None
        self.requests: list[str] = []
        self._stamps = 0
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, media_type: str = JSON, expires_at: datetime | None = None) -> None:
        """Keep a value under a new version."""
        self._stamps += 1
        version = f"{self._stamps:024x}"
        self.held[key] = Value(data=data, media_type=media_type, version=version, expires_at=expires_at)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.before(request)
        with self._lock:
            path = request.url.path
            self.requests.append(path)
            if path == "/health/ready":
                return httpx.Response(200, json={"status": "ready"})
            if path == "/keys":
                return self._page(parse_qs(request.url.query.decode(), keep_blank_values=True))
            if path == "/batch":
                return self._each(request, self._written)
            if path == "/admin/restore":
                return self._each(request, self._restored)
            return self._one(unquote(request.url.raw_path.decode().removeprefix("/kv/")))

    def _page(self, query: dict[str, list[str]]) -> httpx.Response:
        prefix, limit = query["prefix"][0], int(query["limit"][0])
        after = query.get("cursor", [""])[0]
        keys = sorted((key for key in self.held if key.startswith(prefix) and key > after), key=str.encode)
        page = keys[:limit]
        body = {"data": [self._line(key) for key in page], "cursor": page[-1] if len(keys) > limit else None}
        return httpx.Response(200, content=msgspec.json.encode(body))

    def _line(self, key: str) -> dict[str, object]:
        value = self.held[key]
        shown = {"value": msgspec.Raw(value.data)} if value.media_type == JSON else {"value_base64": value.data}
        head = {"key": key, "version": value.version, "size": len(value.data), "media_type": value.media_type}
        return {**head, "expires_at": value.expires_at, **shown}

    def _one(self, key: str) -> httpx.Response:
        value = self.held.get(key)
        if value is None:
            return problem(404, "key-not-found")
        headers = {"ETag": f'"{value.version}"', "Content-Type": value.media_type}
        return httpx.Response(200, content=value.data, headers=headers)

    def _each(self, request: httpx.Request, do: Callable[[Sent], dict[str, object]]) -> httpx.Response:
        body = msgspec.json.decode(request.content, type=Batch)
        sent = body.operations or body.entries
        if {one.key for one in sent} & self.refuses:
            return problem(400, "invalid-json", "some value is not to our taste")
        data = [
            {"status": 403, "key": one.key, "problem": {"type": "/problems/forbidden", "title": "no"}}
            if one.key in self.forbids
            else do(one)
            for one in sent
        ]
        return httpx.Response(200, json={"data": data})

    def _written(self, one: Sent) -> dict[str, object]:
        self.put(one.key, *_value_of(one))
        self.ttls[one.key] = one.ttl
        return {"status": 200, "key": one.key, "version": self.held[one.key].version, "detail": "stored"}

    def _restored(self, one: Sent) -> dict[str, object]:
        held = self.held.get(one.key)
        is_newer = held is not None and held.version > one.version
        if not is_newer:
            data, media_type = _value_of(one)
            self.held[one.key] = Value(data=data, media_type=media_type, version=one.version, expires_at=one.expires_at)
        detail = "newer" if is_newer else "restored"
        return {"status": 200, "key": one.key, "version": self.held[one.key].version, "detail": detail}


def client_of(node: MemoryNode) -> Client:
    """Return a client of a node, which never sleeps."""
    return Client("http://node", http=httpx.Client(transport=httpx.MockTransport(node)), sleep=lambda seconds: None)


def problem(status: int, name: str, detail: str = "") -> httpx.Response:
    """Return a problem document."""
    document = {"type": f"/problems/{name}", "title": name, "detail": detail}
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, content=msgspec.json.encode(document), headers=headers)


def _value_of(one: Sent) -> tuple[bytes, str]:
    return (bytes(one.value), JSON) if one.value_base64 is None else (one.value_base64, one.media_type)
