"""The keys that begin with a prefix, as a range in byte order of UTF-8, which is the order of code points."""

from __future__ import annotations

from typing import Final

__all__ = ("key_range",)

_LAST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


def key_range(prefix: str, after: str | None) -> tuple[str, str | bytes]:
    """Return where keys with the prefix that come after `after` start, and the first that comes too late.

    The latter is an empty blob where no text comes too late: SQLite sorts blobs after all text.
    """
    # No key holds NUL, so nothing lies between a key and that key with a NUL behind it.
    start = prefix if after is None or after < prefix else f"{after}\0"
    return start, _successor(prefix)


def _successor(prefix: str) -> str | bytes:
    """Return the lowest text above all that begin with the prefix: its last character that can be raised is, by one."""
    stem = prefix.rstrip(chr(_LAST))
    if not stem:
        return b""
    following = ord(stem[-1]) + 1
    if following in _SURROGATES:  # UTF-8 has none of these
        following = _SURROGATES.stop
    return stem[:-1] + chr(following)
