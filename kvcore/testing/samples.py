"""Keys, values and media types that a backend is likely to get wrong."""

from __future__ import annotations

from typing import Final

from kvcore.backends import MAX_KEY_BYTES
from kvcore.model import JSON, Version

__all__ = ("MEDIA_TYPES", "VALUES", "key_of_bytes", "odd_keys", "version")

ODD: Final = (
    *("", "a", "A", "á", "a\u0301", "ß", "SS", "ss", "i", "I", "İ", "ı"),  # case and normal forms make no keys equal
    *(" ", "  ", "a ", " a", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\x85", "\u2028", "\ufeff", "\u200d"),
    *("%", "%%", "_", "__", "*", "?", "[a]", "[^a]", "\\", "\\\\", "\\%", "\\_", "\\0", "\\n", "^", "$", ".", ".*"),
    *(
        "'",
        "''",
        '"',
        '""',
        "`",
        ";",
        "--",
        "$1",
        ":a",
        "{a}",
        "{}",
        "a:b",
        "a,b",
        "a|b",
        "(",
        "/",
        "//",
        "../a",
        "%2F",
    ),
    *("0", "00", "1e3", "null", "None", "NaN", "true"),
    *("\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff"),  # UTF-16 sorts these otherwise
    *("👩\u200d👩\u200d👧\u200d👦", "日本語", "\u202eabc", "עברית", "a" * 300),
)

VALUES: Final = (
    b"",
    b"\0",
    bytes(range(256)),
    b"null",
    b"\xff\xfe",
    b"\\x41",
    b"'\"%_",
    "é😀".encode(),
    b"\0" * 100_000,
)

MEDIA_TYPES: Final = (JSON, "", "text/plain; charset=utf-8", 'x/y; q="\\"\'%"', "application/" + "v" * 200)


def key_of_bytes(prefix: str, size_bytes: int) -> str:
    """Return a key that begins with `prefix` and has exactly this size in UTF-8, most of it in characters of four bytes."""
    room = size_bytes - len(prefix.encode())
    return prefix + "k" * (room % 4) + "\U0001f511" * (room // 4)


def odd_keys(prefix: str, longest_bytes: int = MAX_KEY_BYTES) -> list[str]:
    """Return keys of every kind below a prefix, all different, up to the longest that there may be."""
    room = longest_bytes - len(prefix.encode())
    return [prefix + odd for odd in ODD] + [prefix + "k" * room, key_of_bytes(prefix, longest_bytes)]


def version(number: int) -> Version:
    """Return a version by its place in the order of versions."""
    return Version(f"{number:024x}")
