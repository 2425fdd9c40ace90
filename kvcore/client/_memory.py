"""What a session remembers."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

__all__ = ("Memory",)


class Memory:
    """The newest version of each key that was written or seen, of the keys that were used last."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._versions: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def note(self, key: str, version: str) -> None:
        """Remember a version, unless a newer one is known."""
        with self._lock:
            self._versions[key] = max(version, self._versions.pop(key, ""))
            if len(self._versions) > self._max_keys:
                self._versions.popitem(last=False)

    def newest(self, key: str) -> str | None:
        """Return the newest version that is known of a key."""
        with self._lock:
            return self._versions.get(key)
