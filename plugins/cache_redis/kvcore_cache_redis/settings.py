"""What there is to set: `[cache.redis]`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kvcore.secret import Secret
from kvcore_cache_redis.addresses import addresses_of_sentinels, target_of_url

__all__ = ("RedisSettings",)


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the cache "redis": either `url`, or `sentinels` with `master_name`."""

    url: Annotated[
        str | None,
        Meta(
            description="One server: `redis://host:6379`, or `rediss://host:6379` for TLS. Not together with `sentinels`."
        ),
    ] = None
    sentinels: Annotated[
        tuple[str, ...],
        Meta(description="The Sentinels, each `host:26379`. Name all of them: any may be away."),
    ] = ()
    master_name: Annotated[str, Meta(min_length=1, description="What the Sentinels call the master.")] = "kvcore"
    username: Annotated[str | None, Meta(description="The user at the Redis servers, where it is not `default`.")] = (
        None
    )
    password: Annotated[Secret | None, Meta(description="The password of that user.")] = None
    sentinel_username: Annotated[str | None, Meta(description="The user at the Sentinels.")] = None
    sentinel_password: Annotated[Secret | None, Meta(description="The password at the Sentinels.")] = None
    tls: Annotated[
        bool, Meta(description="Speak TLS with the servers and the Sentinels; a `rediss://` URL says the same.")
    ] = False
    tls_ca_file: Annotated[
        str | None, Meta(description="File with the certificates to trust, instead of those that the system trusts.")
    ] = None
    tls_cert_file: Annotated[
        str | None, Meta(description="File with the certificate to show, where the servers ask for one.")
    ] = None
    tls_key_file: Annotated[str | None, Meta(description="File with the key of that certificate.")] = None
    database: Annotated[int, Meta(ge=0, description="The number of the database, best one of the cache's own.")] = 0
    namespace: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_-]{1,64}$",
            description="What all keys in Redis begin with. Nodes share a cache if they share server, database and this.",
        ),
    ] = "kvcore"
    max_connections: Annotated[int, Meta(ge=1, description="Most connections to the master; calls wait for one.")] = 16
    connect_timeout_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=0.5,
            description="How long a server or Sentinel may take to be connected to, and to answer whether it is well.",
        ),
    ] = 0.3
    max_keys: Annotated[
        int, Meta(ge=1, description="Most keys in the database; beyond it those that would end first are evicted.")
    ] = 10_000
    max_memory_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="Most memory that the server may use, in bytes; beyond it slots are evicted in the same order.",
        ),
    ] = 100_000_000

    def __post_init__(self) -> None:
        """Refuse addresses that cannot be one, above all those with a password, before anybody shows them."""
        addresses_of_sentinels(self.sentinels)
        if self.url is not None:
            target_of_url(self.url)
