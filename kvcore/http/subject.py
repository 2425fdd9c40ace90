"""The key that a request is about, left in its scope by the handler that has read it, for the lines that name it."""

from __future__ import annotations

from typing import Any, Final

__all__ = ("key_of", "take_note_of_key")

_KEY: Final = "kvcore.key"


def take_note_of_key(scope: Any, key: str) -> None:
    """Leave the key of a request in its scope."""
    scope[_KEY] = key


def key_of(scope: Any) -> str:
    """Return the key that a request is about; empty: it is about none, about many, or was refused before it was read."""
    key: str = scope.get(_KEY, "")
    return key
