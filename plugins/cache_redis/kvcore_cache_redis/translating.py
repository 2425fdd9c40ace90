"""From exceptions of the driver to those of kvcore: none of the former leaves this plugin."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions

from kvcore.errors import Fate, UnavailableError

__all__ = ("FAILURES", "reason", "translating")

FAILURES: Final[tuple[type[Exception], ...]] = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    exceptions.IncorrectPolicyType,
    OSError,  # with it TimeoutError and ssl.SSLError
)
"""What a call of the driver may raise."""

# The first that fits counts: a class stands before those that it inherits from.
_REASONS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (
        (exceptions.AuthenticationWrongNumberOfArgsError, exceptions.AuthenticationError),
        "it refuses the user or password: see `username` and `password`",
    ),
    ((exceptions.ExternalAuthProviderError,), "its authentication service failed"),
    (
        (exceptions.AuthorizationError, exceptions.NoPermissionError),
        "its access rules (ACL) forbid a command to this user",
    ),
    ((exceptions.BusyLoadingError,), "it is still loading its data"),
    ((exceptions.MaxConnectionsError,), "there are too many connections"),
    ((exceptions.ReadOnlyError,), "it is a replica"),
    ((exceptions.MasterDownError,), "it is a replica that has lost its master"),
    ((exceptions.OutOfMemoryError,), "its memory is full and its policy evicts nothing: see `maxmemory-policy`"),
    (
        (
            exceptions.AskError,
            exceptions.ClusterCrossSlotError,
            exceptions.ClusterDownError,
            exceptions.ClusterError,
            exceptions.CrossSlotTransactionError,
            exceptions.InvalidPipelineStack,
            exceptions.MovedError,
            exceptions.RedisClusterException,
            exceptions.SlotNotCoveredError,
            exceptions.TryAgainError,
        ),
        "it is part of a Redis Cluster, which this plugin does not support: use a master with Sentinels",
    ),
    ((ssl.SSLError,), "TLS failed: see `tls`, and the certificates"),
    ((exceptions.TimeoutError, TimeoutError), "it did not answer in time"),
    ((exceptions.InvalidResponse,), "it does not speak the protocol of Redis; perhaps it speaks TLS"),
    ((exceptions.ConnectionError, OSError), "it cannot be reached"),
    # Those that would be a fault of this plugin.
    (
        (
            exceptions.ChildDeadlockedError,
            exceptions.DataError,
            exceptions.ExecAbortError,
            exceptions.IncorrectPolicyType,
            exceptions.LockError,
            exceptions.LockNotOwnedError,
            exceptions.ModuleError,
            exceptions.NoScriptError,
            exceptions.NoSuchFieldsetError,
            exceptions.PubSubError,
            exceptions.WatchError,
        ),
        "a fault in kvcore-cache-redis",
    ),
    ((exceptions.ResponseError,), "it refused a command"),
)


def reason(error: Exception) -> str:
    """Say what an exception means to who runs the node, followed by the driver's own words."""
    meaning = next((text for classes, text in _REASONS if isinstance(error, classes)), "Redis failed")
    return f"{meaning} ({type(error).__name__}: {error})"


@contextmanager
def translating(server: object, outcome: Fate) -> Iterator[None]:
    """Turn what the driver raises into `UnavailableError`, with the name of the server; let all others pass."""
    try:
        yield
    except FAILURES as error:
        raise UnavailableError(f"Redis {server} cannot serve now: {reason(error)}", outcome=outcome) from error
