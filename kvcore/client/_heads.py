"""What there is to know of a key but its value."""

from __future__ import annotations

from kvcore.client._calls import Calls
from kvcore.client._retrying import Attempt, Retrying, Steps
from kvcore.client._values import Listed
from kvcore.errors import UnavailableError

__all__ = ("head",)


def head(
    calls: Calls, retrying: Retrying, key: str, *, min_version: str | None, wait_s: float, from_store: bool
) -> Steps[Listed | None]:
    """Return what a listing has of a key, None where there is no such key.

    An answer to HEAD has no body, so an error has no reason, and a missing key looks like a wrong URL: what HEAD does not
    tell is asked by GET, in the time and among the attempts that there are for both.
    """
    asked = calls.head(key, min_version=min_version, wait_s=wait_s, from_store=from_store)
    attempts = retrying.begin(asked)
    try:
        found = asked.read((yield Attempt(asked, attempts.timeout_s())))
    except UnavailableError as error:
        pause_s = attempts.pause_after(error)
        found = None
        yield pause_s
    if found is not None:
        return found
    reading = calls.get(key, min_version=min_version, wait_s=wait_s, from_store=from_store, if_none_match=None)
    value = yield from retrying.result(reading, attempts)
    if value is None:
        return None
    return Listed(
        key=key,
        version=value.version,
        size_bytes=len(value.data),
        media_type=value.media_type,
        expires_at=value.expires_at,
    )
