"""Every error that kvcore raises on purpose, by what the caller can do about it.

::

    KvcoreError
    ├── SettingsError               mend the configuration (start-up only)
    ├── PluginError                 install, remove or mend a plugin (start-up only)
    ├── RequestError                mend the request: as it is it can never succeed
    │   ├── InvalidKeyError
    │   ├── KeyTooLongError
    │   ├── ValueTooLargeError
    │   ├── RejectedError           the store refuses this mutation
    │   └── UnsupportedError        the chosen backend lacks the ability that is needed
    ├── AccessError                 show a token that may do this
    │   ├── UnauthenticatedError    no token, or none that is known
    │   └── ForbiddenError          the token is known, and may not do this
    ├── ConditionFailedError        read again, decide again: the key has another version than expected
    └── UnavailableError            wait, then send the same again; `outcome` says what became of it
        ├── OverloadedError         too many requests are waiting already
        ├── RateLimitedError        this caller has sent too many requests of late
        ├── CircuitOpenError        the tier failed a moment ago; it was not asked
        ├── VersionNotReachedError  `min_version` did not arrive within the wait
        └── ClockSkewError          the clock of this node is wrong by more than the bound

A backend raises `UnavailableError` (its server cannot be reached, or answers that it cannot serve now) and, while
it opens, `SettingsError`. Nothing of its driver leaves it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

__all__ = (
    "AccessError",
    "ChangingNothing",
    "CircuitOpenError",
    "ClockSkewError",
    "ConditionFailedError",
    "ForbiddenError",
    "InvalidKeyError",
    "KeyTooLongError",
    "KvcoreError",
    "OverloadedError",
    "PluginError",
    "RateLimitedError",
    "RejectedError",
    "RequestError",
    "SettingsError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "ValueTooLargeError",
    "VersionNotReachedError",
)

Fate = Literal["not-applied", "unknown"]


class KvcoreError(Exception):
    """The root: catching it catches whatever kvcore raises on purpose."""


class SettingsError(KvcoreError):
    """A setting is unknown, has a wrong type or value, or does not go together with another."""


class PluginError(KvcoreError):
    """A plugin that is needed is missing or broken, or two plugins claim one name."""


class RequestError(KvcoreError):
    """The request is wrong; the message says what to change."""


class InvalidKeyError(RequestError):
    """A key is empty, holds NUL, or cannot be written as UTF-8."""


class KeyTooLongError(RequestError):
    """A key is longer than `limit_bytes` in UTF-8."""

    def __init__(self, message: str, *, limit_bytes: int = 0) -> None:
        super().__init__(message)
        self.limit_bytes = limit_bytes


class ValueTooLargeError(RequestError):
    """A value is larger than `limit_bytes`."""

    def __init__(self, message: str, *, limit_bytes: int = 0) -> None:
        super().__init__(message)
        self.limit_bytes = limit_bytes


class RejectedError(RequestError):
    """The store was reached and refuses the mutation itself; sending it again changes nothing."""


class UnsupportedError(RequestError):
    """The backend that was chosen does not declare the ability that this needs."""


class AccessError(KvcoreError):
    """Whoever asks may not do this. The message tells nothing of keys, values and tokens."""


class UnauthenticatedError(AccessError):
    """There is no token, or none that is known here: which of these is not told."""


class ForbiddenError(AccessError):
    """The token does not have the scope, or not for this key."""


class ConditionFailedError(KvcoreError):
    """A conditional write found the key at another version.

    `version` is the version that the key has now, or None where the key does not exist.
    """

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version


class UnavailableError(KvcoreError):
    """A tier could not do its part. The request was right: send it again after `retry_after_s` seconds.

    `outcome` is "not-applied" when certainly nothing happened, and "unknown" when the write may have happened or may
    still happen. Sending it again is safe in both cases, but for a conditional write without an idempotency key whose outcome
    is unknown: that may fail by what it did itself, so read the key first.
    """

    def __init__(self, message: str, *, outcome: Fate = "unknown", retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.outcome: Fate = outcome
        self.retry_after_s = retry_after_s


class OverloadedError(UnavailableError):
    """More requests wait for this tier than its bound allows; nothing was done."""

    def __init__(self, message: str, *, outcome: Fate = "not-applied", retry_after_s: float = 1.0) -> None:
        super().__init__(message, outcome=outcome, retry_after_s=retry_after_s)


class RateLimitedError(UnavailableError):
    """This caller has sent more requests than it may; nothing was done."""

    def __init__(self, message: str, *, outcome: Fate = "not-applied", retry_after_s: float = 1.0) -> None:
        super().__init__(message, outcome=outcome, retry_after_s=retry_after_s)


class CircuitOpenError(UnavailableError):
    """The tier failed a moment ago and is given time to recover; it was not asked and nothing was done."""

    def __init__(self, message: str, *, outcome: Fate = "not-applied", retry_after_s: float = 1.0) -> None:
        super().__init__(message, outcome=outcome, retry_after_s=retry_after_s)


class VersionNotReachedError(UnavailableError):
    """The key has not reached the version that the reader must see; an older value is never answered instead."""

    def __init__(self, message: str, *, outcome: Fate = "not-applied", retry_after_s: float = 1.0) -> None:
        super().__init__(message, outcome=outcome, retry_after_s=retry_after_s)


class ClockSkewError(UnavailableError):
    """This node's clock and the versions it sees are further apart than the configured bound; nothing was done."""

    def __init__(self, message: str, *, outcome: Fate = "not-applied", retry_after_s: float = 1.0) -> None:
        super().__init__(message, outcome=outcome, retry_after_s=retry_after_s)


class ChangingNothing:
    """A context in which what fails says that nothing was done: whoever only reads changes nothing, whatever became of it."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UnavailableError):
            error.outcome = "not-applied"
