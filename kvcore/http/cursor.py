"""Cursors of a listing: where it goes on, for its client a text without meaning.

A cursor holds a digest of the prefix and what the last key has behind the prefix. It names a place in the order of keys and
no state of a node, so it can be used at any node, at any time, and whatever was written or deleted meanwhile.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from kvcore.http.problems import InvalidRequestError

__all__ = ("cursor_at", "place_of")

_DIGEST_BYTES: Final = 6
_REFUSAL: Final = "the cursor is not one that was given for this prefix: send one as it was, or start again without it"


def cursor_at(prefix: str, after: str) -> str:
    """Return the cursor of a listing of `prefix` that goes on behind the key `after`, which begins with it."""
    return urlsafe_b64encode(_digest(prefix) + after.removeprefix(prefix).encode()).decode().rstrip("=")


def place_of(prefix: str, cursor: str) -> str:
    """Return the key behind which a listing of `prefix` goes on.

    Raises:
        InvalidRequestError: the cursor was not given for this prefix.
    """
    try:
        held = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        after = prefix + held[_DIGEST_BYTES:].decode()
    except ValueError:
        raise InvalidRequestError(_REFUSAL) from None
    # What is not what would be given here is of another prefix, a second spelling of a place, or made up.
    if "\0" in after or cursor_at(prefix, after) != cursor:
        raise InvalidRequestError(_REFUSAL)
    return after


def _digest(prefix: str) -> bytes:
    return blake2b(prefix.encode(), digest_size=_DIGEST_BYTES).digest()
