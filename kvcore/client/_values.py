"""What a node answers, as values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from kvcore.model import JSON

__all__ = ("CacheStats", "Health", "Limits", "Listed", "NodeCacheStats", "Tier", "Value", "Written")


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What a key holds at one version. `expires_at` has a time zone; None: the key does not expire."""

    data: bytes
    media_type: str
    version: str
    expires_at: datetime | None = None

    @property
    def is_json(self) -> bool:
        """Whether it was written as JSON, as everything but bytes is."""
        return self.media_type == JSON

    def text(self) -> str:
        """Return the bytes as text: of JSON as it was written, so of a string with its quotes.

        Raises:
            UnicodeDecodeError: they are not UTF-8.
        """
        return self.data.decode()

    def json(self) -> Any:
        """Return what the bytes mean as JSON.

        Raises:
            msgspec.DecodeError: they are not JSON.
        """
        return msgspec.json.decode(self.data)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A write or delete that was done.

    `stored`: the store has it; else a durable queue has it. `created`: it was on condition that the key does not exist.
    """

    key: str
    version: str
    stored: bool
    created: bool = False


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a listing, or what `head` tells of a key; `value` only where values were asked for."""

    key: str
    version: str
    size_bytes: int
    media_type: str
    expires_at: datetime | None = None
    value: Value | None = None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One tier's health."""

    status: str
    backend: str
    ping_ms: float
    breaker: str = ""
    server: str = ""
    detail: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest key and value that the node takes, in bytes."""

    max_key_bytes: int
    max_value_bytes: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of a node: "healthy", "degraded" (some tier is down and the others go on) or "unhealthy"."""

    status: str
    components: dict[str, Tier]
    version: str
    node: str
    profile: str
    limits: Limits | None = None


class NodeCacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one node has found in the cache since its start; `hit_rate` in percent, 0 before the first hit."""

    cache_hits: int
    cache_misses: int
    hit_rate: float


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """The cache in numbers, as its backend sees it, for all nodes; None: unlimited, or not known to it."""

    keys_count: int
    memory_used_bytes: int
    max_keys_limit: int | None = None
    max_memory_bytes: int | None = None
    cache_hits: int
    cache_misses: int
    hit_rate: float
    evictions: int
    node: NodeCacheStats
