"""What there is to set: `[store.cockroach]`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kvcore.secret import Secret

__all__ = ("CockroachSettings",)

Host = Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+)(:[0-9]{1,5})?$")]


class CockroachSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the store "cockroach"."""

    hosts: Annotated[
        tuple[Host, ...],
        Meta(
            min_length=1,
            description="Servers of the database, each as host or host:port. Any of them may be down; connections are spread over all.",
        ),
    ] = ("127.0.0.1:26257",)
    database: Annotated[
        str, Meta(min_length=1, description="Database that holds the table `kv`. It must be there, in UTF-8.")
    ] = "kvcore"
    username: Annotated[str, Meta(min_length=1, description="User to connect as.")] = "kvcore"
    password: Annotated[Secret | None, Meta(description="The user's password, where one is asked for.")] = None
    tls: Annotated[
        Literal["disable", "require", "verify-full"],
        Meta(
            description="Whether to use TLS: not at all, without knowing to whom one speaks, or with a certificate that is verified."
        ),
    ] = "disable"
    ca_file: Annotated[
        str | None, Meta(description="Certificates to verify the servers' with; those of the system if not set.")
    ] = None
    cert_file: Annotated[str | None, Meta(description="Certificate to log in with.")] = None
    key_file: Annotated[str | None, Meta(description="Key of that certificate.")] = None
    connections: Annotated[int, Meta(ge=1, le=1000, description="Most connections at once, over all servers.")] = 8
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=60, description="How long one server may take to accept a connection.")
    ] = 2.0
