"""Which server it is, and what it takes."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from kvcore.backends import MAX_KEY_BYTES, Limits

__all__ = ("LEAST_LIMITS", "Server", "limits_of")

_LIMITS: Final = {
    # Larger rows are slow, and the largest break the connection: the vendor advises to stay below 64 KB and 1 MB.
    "CockroachDB": Limits(max_key_bytes=MAX_KEY_BYTES, max_value_bytes=4 << 20),
    # A row of an index must fit into a third of a page, 2,704 bytes with its head.
    "PostgreSQL": Limits(max_key_bytes=2_600, max_value_bytes=64 << 20),
}
LEAST_LIMITS: Final = Limits(
    max_key_bytes=min(limits.max_key_bytes for limits in _LIMITS.values()),
    max_value_bytes=min(limits.max_value_bytes for limits in _LIMITS.values()),
)


class Server(msgspec.Struct, frozen=True):
    """A kind of server, and its version."""

    kind: Literal["CockroachDB", "PostgreSQL"]
    version: tuple[int, ...]

    @classmethod
    def named(cls, said: str) -> Server:
        """Make one of what `SELECT version()` says."""
        kind: Literal["CockroachDB", "PostgreSQL"] = "CockroachDB" if "CockroachDB" in said else "PostgreSQL"
        found = re.search(r"\d+(?:\.\d+)*", said)
        return cls(kind, tuple(map(int, found[0].split("."))) if found else ())

    @property
    def is_supported(self) -> bool:
        """Whether the statements were made for this version."""
        return self.version >= {"CockroachDB": (21, 2), "PostgreSQL": (15,)}[self.kind]

    def __str__(self) -> str:
        number = ".".join(map(str, self.version))
        return f"{self.kind} v{number}" if self.kind == "CockroachDB" else f"{self.kind} {number}"


def limits_of(server: Server) -> Limits:
    """Return the largest key and value that a server takes."""
    return _LIMITS[server.kind]
