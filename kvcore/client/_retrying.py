"""When a request is sent again, and when not any more."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from kvcore.client._calls import Call
from kvcore.errors import SettingsError, UnavailableError, VersionNotReachedError

__all__ = ("Attempt", "Attempts", "Retries", "Retrying", "Steps")

T = TypeVar("T")
R = TypeVar("R")


class Retries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a request is sent, and how long that may take.

    `tries`: at most so many times; 1: never again. `try_timeout_s`: for each, in which nothing arrives. `deadline_s`: for
    all of them together, pauses included. A pause is `first_pause_s`, then twice as long each time, less up to half of it
    at random, after what the node asks for by `Retry-After`; at most `longest_pause_s` in all.
    """

    tries: int = 4
    deadline_s: float = 30.0
    try_timeout_s: float = 10.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.tries < 1 or min(self.deadline_s, self.try_timeout_s, self.first_pause_s, self.longest_pause_s) <= 0:
            raise SettingsError("a request is tried at least once, and every time limit is above 0")


class Attempt(msgspec.Struct, frozen=True):
    """A request to be sent now, and for how many seconds its answer is waited for."""

    call: Call[object]
    timeout_s: float


Steps = Generator[Attempt | float, Any, R]
"""Work that leaves sending and waiting to a client, so that both clients share it.

It yields attempts, and takes the answer of each or the error that came instead; and it yields pauses, in seconds.
"""


class Attempts:
    """The attempts at one call.

    Sent again is what certainly was not applied, and what changes nothing when it is applied twice: `Call.repeatable`.
    """

    def __init__(self, call: Call[object], retries: Retries, clock: Callable[[], float]) -> None:
        self._call = call
        self._retries = retries
        self._clock = clock
        self._until_s = clock() + retries.deadline_s
        self._failed = 0
        self._unknown = False

    def timeout_s(self) -> float:
        """Return how long the next attempt may take."""
        left_s = max(self._until_s - self._clock(), 0.001)
        return min(left_s, self._retries.try_timeout_s + self._call.wait_s)

    def pause_after(self, error: UnavailableError) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises:
            UnavailableError: the error itself, where there is to be none; with the outcome of all attempts together.
        """
        # Once an attempt may have been applied, a later one that certainly was not does not undo that.
        self._unknown = self._unknown or (self._call.writes and error.outcome == "unknown")
        error.outcome = "unknown" if self._unknown else "not-applied"
        self._failed += 1
        pause_s = self._pause_s(error.retry_after_s)
        if (
            self._failed >= self._retries.tries
            or self._call.once
            or (self._unknown and not self._call.repeatable)
            or isinstance(error, VersionNotReachedError)  # the node has done the waiting
            or self._clock() + pause_s >= self._until_s
        ):
            raise error
        return pause_s

    def _pause_s(self, asked_s: float) -> float:
        backoff_s = self._retries.first_pause_s * 2.0 ** min(self._failed - 1, 60)  # no float has room for many more
        jittered_s = backoff_s * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
        return min(asked_s + jittered_s, self._retries.longest_pause_s)


class Retrying:
    """Makes calls, each as often as is sensible."""

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock

    def begin(self, call: Call[object]) -> Attempts:
        """Begin to count the attempts at a call, and the time for them."""
        return Attempts(call, self._retries, self._clock)

    def result(self, call: Call[T], attempts: Attempts | None = None) -> Steps[T]:
        """Return what the call's answer means; `attempts`: those that there are for it and calls before it.

        Raises:
            KvcoreError: that is an error, in the end.
        """
        attempts = attempts or self.begin(call)
        while True:
            try:
                return call.read((yield Attempt(call, attempts.timeout_s())))
            except UnavailableError as error:
                pause_s = attempts.pause_after(error)
            yield pause_s
