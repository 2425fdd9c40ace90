"""The hybrid logical clock that stamps every write.

A version is the time in milliseconds, a counter and the node's tag, so it sorts by time where clocks agree and by cause
where they do not: a node that has seen a version stamps higher ones from then on. After Kulkarni and others, "Logical
Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from kvcore.errors import ClockSkewError
from kvcore.model import Version

__all__ = ("HybridClock", "is_version", "version_at", "version_ms")

_COUNTER_BITS = 16
_REFUSED_FOR_MS = 60_000
_HEX = frozenset("0123456789abcdef")


def now_ms() -> int:
    """Return the wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def is_version(text: str) -> bool:
    """Tell whether a text has the form of a version: 24 lowercase hex digits."""
    return len(text) == 24 and _HEX.issuperset(text)


def version_ms(version: Version) -> int:
    """Return the time in a version, in Unix milliseconds."""
    return int(version[:12], 16)


def version_at(ms: int) -> Version:
    """Return the lowest version of a millisecond: all versions stamped earlier are below it."""
    return Version(f"{max(ms, 0):012x}{0:012x}")


class HybridClock:
    """Stamps versions that never repeat and never fall behind a version that this node has seen.

    The clock follows the wall clock, and runs ahead of it where it must, by at most `max_ahead_ms`. Its tag is drawn at
    random, so a restarted node, and a node whose wall clock was set back, does not repeat versions of its own.
    """

    def __init__(self, *, max_ahead_ms: int, now_ms: Callable[[], int] = now_ms, tag: str | None = None) -> None:
        self._max_ahead_ms = max_ahead_ms
        self._now_ms = now_ms
        self.tag = secrets.token_hex(4) if tag is None else tag
        # Milliseconds and counter in one integer: one comparison orders both, and a full counter carries over.
        self._last = 0
        self._refused_ms = self._refused_at_ms = 0

    def now_ms(self) -> int:
        """Return the wall clock that this clock follows, in Unix milliseconds."""
        return self._now_ms()

    def stamp(self) -> Version:
        """Return a version above every version stamped or absorbed before.

        Raises:
            ClockSkewError: that version would be further ahead of the wall clock than the bound.
        """
        now = self._now_ms()
        following = max(now << _COUNTER_BITS, self._last + 1)
        self._refuse_ahead(following >> _COUNTER_BITS, now)
        self._last = following
        return Version(f"{following:016x}{self.tag}")

    def absorb(self, version: Version) -> None:
        """Take note of a version stamped elsewhere: whatever is stamped from now on is above it.

        Raises:
            ClockSkewError: the version is further ahead of the wall clock than the bound; nothing is changed.
        """
        seen = int(version[:16], 16)
        if seen > self._last:
            self._refuse_ahead(seen >> _COUNTER_BITS, self._now_ms())
            self._last = seen

    def stamped(self, version: Version) -> bool:
        """Tell whether this very clock stamped a version."""
        return version.endswith(self.tag)

    def is_ahead(self, version: Version) -> bool:
        """Tell whether a version is so far ahead that no node with a right clock can have stamped it."""
        return version_ms(version) > self._now_ms() + self._max_ahead_ms

    def ahead_ms(self) -> int:
        """Return how far the newest version is ahead of the wall clock: one stamped, absorbed, or refused within a minute."""
        now = self._now_ms()
        refused = self._refused_ms if now - self._refused_at_ms < _REFUSED_FOR_MS else 0
        return max(0, (self._last >> _COUNTER_BITS) - now, refused - now)

    def _refuse_ahead(self, ms: int, now: int) -> None:
        if ms > now + self._max_ahead_ms:
            self._refused_ms, self._refused_at_ms = ms, now
            raise ClockSkewError(
                f"the clock of this node is {(ms - now) / 1000:.1f} s behind a version that it has seen, and at most"
                f" {self._max_ahead_ms / 1000:g} s are allowed (clock.max_ahead_s): set the clocks right, by NTP"
            )
