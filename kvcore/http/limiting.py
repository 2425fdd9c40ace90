"""How much at once, and how often: what a request must pass before anything is done for it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from litestar.types import HTTPScope

from kvcore.access import ANYBODY, STRANGER, Grant
from kvcore.errors import OverloadedError, RateLimitedError
from kvcore.http.addresses import Addresses
from kvcore.metrics import Metrics
from kvcore.settings import Settings

__all__ = ("Buffers", "Limiter", "RateLimit")

_NEVER_LIMITED: Final = frozenset(("/health/live", "/health/ready"))
"""What load balancers ask: a node that refuses them would be taken out, or restarted, for being busy."""
_KNOWN_CALLERS: Final = 65_536
_FORGOTTEN_AT_ONCE: Final = 2
_ROUNDING_S: Final = 1e-9


class RateLimit:
    """A token bucket for each caller: so many calls per second, and `burst` at once after a pause.

    The state of a bucket is one number, the time at which it will be full again (GCRA, the generic cell rate algorithm):
    every call moves that by the time of one call, and it may lie at most `burst` of them ahead. One that is full again is
    forgotten, as is the one asked for the longest ago when there are too many.
    """

    def __init__(
        self, rate_per_s: float, burst: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s = 1 / rate_per_s
        self._depth_s = self._pause_s * ((burst or max(1, int(rate_per_s))) - 1)
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str) -> float:
        """Take one call from a caller's bucket; return 0, or, where there is none, in how many seconds there will be."""
        now = self._clock()
        full_at = self._full_at.get(caller)
        if full_at is None:
            self._forget(now)
            full_at = now
        elif full_at < now:
            full_at = now
        missing_s = full_at - now - self._depth_s
        if missing_s > _ROUNDING_S:
            return missing_s
        self._full_at[caller] = full_at + self._pause_s
        self._full_at.move_to_end(caller)
        return 0.0

    def _forget(self, now: float) -> None:
        """Make room for one more: two go for each that comes, if they may."""
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._full_at), None)
            if oldest is None or (self._full_at[oldest] > now and len(self._full_at) < _KNOWN_CALLERS):
                return
            del self._full_at[oldest]


class Buffers:
    """Counts the bytes that all connections hold for clients who have not sent, or not taken, all of a body."""

    __slots__ = ("answers", "bodies", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bodies = self.answers = 0

    @property
    def held(self) -> int:
        """Bytes of both kinds."""
        return self.bodies + self.answers


class Limiter:
    """Counts the requests of each address and of each token, and looks at how many are under way."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        limits = settings.limits
        self._metrics = metrics
        self._concurrent = limits.concurrent_requests
        self._addresses = Addresses(settings.http.trusted_proxies)
        self._by_address = _rate_limit(limits.address_rate_per_s, limits.address_burst)
        self._by_token = _rate_limit(limits.token_rate_per_s, limits.token_burst)

    def admit(self, scope: HTTPScope, in_progress: int) -> None:
        """Return if a request may be served as far as its address and what is in progress go.

        Raises:
            RateLimitedError, OverloadedError: it may not.
        """
        if in_progress > self._concurrent and scope["path"] not in _NEVER_LIMITED:
            self._metrics.http.limited("concurrent-requests")
            raise OverloadedError(f"{self._concurrent} requests are being served already: try again")
        if self._by_address is not None and scope["path"] not in _NEVER_LIMITED:
            wait_s = self._by_address.take(self.caller(scope))
            if wait_s:
                self._metrics.http.limited("address-rate")
                raise RateLimitedError("this address sends too many requests", retry_after_s=wait_s)

    def caller(self, scope: HTTPScope) -> str:
        """Return the address or network that a request is counted for."""
        return self._addresses.caller(scope)

    def admit_grant(self, grant: Grant) -> None:
        """Return if a request may be served as far as its token goes. Who has none has no limit of that kind.

        Raises:
            RateLimitedError: it may not.
        """
        if self._by_token is not None and grant is not ANYBODY and grant is not STRANGER:
            wait_s = self._by_token.take(grant.name)
            if wait_s:
                self._metrics.http.limited("token-rate")
                raise RateLimitedError("this token sends too many requests", retry_after_s=wait_s)


def _rate_limit(rate_per_s: float | None, burst: int | None) -> RateLimit | None:
    return None if rate_per_s is None else RateLimit(rate_per_s, burst)
