"""Where servers are: what the settings say, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

from kvcore.errors import SettingsError

if TYPE_CHECKING:
    from kvcore_cache_redis.settings import RedisSettings

__all__ = ("Address", "Target", "addresses_of_sentinels", "check", "target_of_url")

_PORT = 6379
_SENTINEL_PORT = 26379


class Address(NamedTuple):
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """What a URL names."""

    address: Address
    tls: bool
    database: int


def check(settings: RedisSettings) -> None:
    """Refuse what cannot work.

    Raises:
        SettingsError: with what to do.
    """
    if settings.url is not None and settings.sentinels:
        raise SettingsError("cache.redis.url and cache.redis.sentinels are both set; set one of them")
    if settings.url is not None:
        if target_of_url(settings.url).database and settings.database:
            raise SettingsError("cache.redis.url names a database, and cache.redis.database too; say it once")
    elif not settings.sentinels:
        raise SettingsError("set cache.redis.sentinels (and master_name), or cache.redis.url for a single server")
    if (settings.tls_key_file is None) != (settings.tls_cert_file is None):
        raise SettingsError("cache.redis.tls_cert_file and cache.redis.tls_key_file go together; set both or none")


def target_of_url(url: str) -> Target:
    """Take a URL apart.

    Raises:
        SettingsError: it is not of the form `redis://host:port/database`, with `rediss` for TLS.
    """
    where = "cache.redis.url"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError(f"{where}: this is no URL") from None
    # No message repeats the URL: it may hold a password, wherever that was put.
    if "@" in parts.netloc:
        raise SettingsError(
            f"{where}: a user or password does not belong into the URL; set cache.redis.username, and"
            " cache.redis.password or password_file"
        )
    database = parts.path.removeprefix("/") or "0"
    if (
        parts.scheme not in ("redis", "rediss")
        or parts.query
        or parts.fragment
        or not (database.isascii() and database.isdigit())
    ):
        raise SettingsError(f"{where}: this is not of the form redis://host:port/database, or rediss:// for TLS")
    return Target(_address(parts, where, _PORT), parts.scheme == "rediss", int(database))


def addresses_of_sentinels(sentinels: tuple[str, ...]) -> list[Address]:
    """Return the Sentinels' addresses.

    Raises:
        SettingsError: one is not of the form `host:port`.
    """
    found = []
    for number, text in enumerate(sentinels, 1):
        where = f"cache.redis.sentinels, number {number}"
        try:
            parts = urlsplit(f"//{text}")
        except ValueError:
            parts = SplitResult("", "", "", "", "")
        if parts.netloc != text or "@" in text:
            raise SettingsError(f"{where}: this is not of the form host:port")
        found.append(_address(parts, where, _SENTINEL_PORT))
    return found


def _address(parts: SplitResult, where: str, default_port: int) -> Address:
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(f"{where}: the port is not one between 1 and 65535") from None
    if not parts.hostname or port == 0:
        raise SettingsError(f"{where}: this is not of the form host:port")
    return Address(parts.hostname, default_port if port is None else port)
