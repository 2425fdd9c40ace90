"""What a key and a value may be: the limits that are configured, or the store's where those are less."""

from __future__ import annotations

from kvcore.backends import Limits, Store
from kvcore.errors import InvalidKeyError, KeyTooLongError, ValueTooLargeError
from kvcore.settings import LimitSettings

__all__ = ("Bounds",)


class Bounds:
    """Refuses the keys and values that a node does not take. A store may tell other limits while it is open."""

    def __init__(self, settings: LimitSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._limits = self._theirs = store.limits
        self._take_note()

    @property
    def limits(self) -> Limits:
        """The largest key and value that are taken now, in bytes."""
        if self._store.limits is not self._theirs:
            self._take_note()
        return self._limits

    def check_key(self, key: str) -> None:
        """Return if this may be a key.

        Raises:
            InvalidKeyError: it may not.
            KeyTooLongError: it is longer than keys may be.
        """
        if not key or "\0" in key:
            raise InvalidKeyError("a key is 1 byte or longer and holds no NUL")
        limit = self.limits.max_key_bytes
        if key.isascii():
            size = len(key)
        else:
            try:
                size = len(key.encode())
            except UnicodeEncodeError:
                raise InvalidKeyError("the key cannot be written as UTF-8: it holds half of a surrogate pair") from None
        if size > limit:
            raise KeyTooLongError(f"the key has {size} bytes, and at most {limit} are allowed", limit_bytes=limit)

    def check_value(self, value: bytes) -> None:
        """Return if this may be a value.

        Raises:
            ValueTooLargeError: it is larger than values may be.
        """
        limit = self.limits.max_value_bytes
        if len(value) > limit:
            raise ValueTooLargeError(
                f"the value has {len(value)} bytes, and at most {limit} are allowed", limit_bytes=limit
            )

    def _take_note(self) -> None:
        ours, self._theirs = self._settings, self._store.limits
        self._limits = Limits(
            max_key_bytes=min(ours.max_key_bytes, self._theirs.max_key_bytes),
            max_value_bytes=min(ours.max_value_bytes, self._theirs.max_value_bytes),
        )
