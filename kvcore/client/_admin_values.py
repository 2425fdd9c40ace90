"""What a node answers to whoever administers it, as values."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from kvcore.client._values import Value

__all__ = (
    "Backend",
    "BrokenPlugin",
    "Channel",
    "DeadLetter",
    "Plugin",
    "Plugins",
    "QueueStats",
    "Setting",
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in force, by its path; `source` tells where the value comes from. A secret's value is hidden."""

    setting: str
    value: Any
    source: str


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A backend that a plugin gives: of which kind ("cache", "queue" or "store"), and what it can do."""

    kind: str
    name: str
    abilities: list[str]


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that the node has loaded: its backends, and the names of all hooks that it implements."""

    name: str
    distribution: str
    backends: list[Backend]
    hooks: list[str]


class BrokenPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that is installed and could not be loaded, and why."""

    name: str
    distribution: str
    reason: str


class Plugins(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins that are installed where the node runs."""

    loaded: list[Plugin]
    broken: list[BrokenPlugin]


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel of the queue: messages that wait, those in the hands of workers, and how many these are; None: not known."""

    waiting: int | None = None
    unsettled: int | None = None
    consumers: int | None = None


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """The queue in numbers, by channel: "writes" and "refreshes". `dead_letters` None: not known, or none are kept."""

    channels: dict[str, Channel]
    dead_letters: int | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A write or delete that the store has rejected, and the reason that it gave.

    `id` names it within the queue. `version` is what the key would have; `condition`: what it depended on, None: nothing.
    `value`: of a put, and only where one letter was asked for.
    """

    id: str
    key: str
    op: Literal["put", "delete"]
    version: str
    reason: str
    size_bytes: int
    media_type: str | None = None
    expires_at: datetime | None = None
    condition: str | None = None
    value: Value | None = None
