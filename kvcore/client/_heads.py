"""What there is to know of a key but its value."""

from __future__ import annotations

from kvcore.client._calls import Calls
from kvcore.client._retrying import Retrying, Steps
from kvcore.client._values import Listed

__all__ = ("head",)


def head(
    calls: Calls, retrying: Retrying, key: str, *, min_version: str | None, wait_s: float, from_store: bool
) -> Steps[Listed | None]:
    """Return what a listing has of a key, None where there is no such key.

    An answer to HEAD has no body, so an error has no reason, and a missing key looks like a wrong URL: what HEAD does not
    tell is asked by GET.
    """
    found = yield from retrying.result(calls.head(key, min_version=min_version, from_store=from_store))
    if found is not None:
        return found
    value = yield from retrying.result(
        calls.get(key, min_version=min_version, wait_s=wait_s, from_store=from_store, if_none_match=None)
    )
    if value is None:
        return None
    return Listed(
        key=key,
        version=value.version,
        size_bytes=len(value.data),
        media_type=value.media_type,
        expires_at=value.expires_at,
    )
