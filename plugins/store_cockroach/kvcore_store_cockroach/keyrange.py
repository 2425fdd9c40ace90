"""The keys that begin with a prefix, as a range in byte order of UTF-8, which is the order of code points."""

from __future__ import annotations

from typing import Final

__all__ = ("successor",)

_LAST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


def successor(prefix: str) -> str | None:
    """Return the lowest text above all that begin with the prefix: its last character that can be raised is, by one.

    None: there is no text above them.
    """
    stem = prefix.rstrip(chr(_LAST))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following in _SURROGATES:  # UTF-8 has none of these
        following = _SURROGATES.stop
    return stem[:-1] + chr(following)
