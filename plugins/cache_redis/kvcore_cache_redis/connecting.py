"""Connections of the driver, which know nothing of masters, and what is sent over them.

The driver connects, speaks TLS, introduces itself and parses. Its clients, pools and retries are not used: on the way
of a request each of them takes time, and may wait where this plugin must fail at once.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio.connection import Connection, SSLConnection

from kvcore.errors import SettingsError
from kvcore_cache_redis.addresses import Address, target_of_url
from kvcore_cache_redis.settings import RedisSettings
from kvcore_cache_redis.translating import FAILURES

__all__ = ("Argument", "Connector", "end", "exchange", "pack")

Argument = str | bytes | int

_UNLIMITED: Final = None


class Connector:
    """Opens connections to servers, or to Sentinels, as the settings say.

    Args:
        settings: The settings, which were checked.
        to_sentinels: Whether the others at the end are Sentinels: they have users of their own, and no databases.

    Raises:
        SettingsError: a certificate cannot be used.
    """

    def __init__(self, settings: RedisSettings, *, to_sentinels: bool = False) -> None:
        self.timeout_s = settings.connect_timeout_s
        target = None if settings.url is None else target_of_url(settings.url)
        self._options: dict[str, Any] = {
            "protocol": 3,
            "client_name": "kvcore",
            "driver_info": None,
            "socket_timeout": _UNLIMITED,
            "socket_connect_timeout": _UNLIMITED,
        }
        if to_sentinels:
            self._options |= _user(settings.sentinel_username, settings.sentinel_password)
        else:
            database = settings.database or (0 if target is None else target.database)
            self._options |= {"db": database, **_user(settings.username, settings.password)}
        self._context: ssl.SSLContext | None = None
        if settings.tls or (target is not None and target.tls):
            self._context = _tls_context(settings)

    @property
    def speaks_tls(self) -> bool:
        """Whether the connections are encrypted."""
        return self._context is not None

    async def open(self, address: Address) -> Connection:
        """Return a connection to this address, ready for commands.

        Raises:
            TimeoutError: it took longer than `connect_timeout_s`.
            Exception: any other of `translating.FAILURES`.
        """
        connection = self._made(address)
        try:
            async with asyncio.timeout(self.timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # the driver's types have gaps
        except BaseException:  # also when cancelled: half a handshake is of no use, and raised again
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _made(self, address: Address) -> Connection:
        options = {"host": address.host, "port": address.port, **self._options}
        if self._context is None:
            return Connection(**options)
        connection = SSLConnection(**options)
        connection.ssl_context.context = self._context
        return connection


def pack(*command: Argument) -> bytes:
    """Return a command as it is sent."""
    return pack_command(command)  # type: ignore[arg-type, no-any-return]  # its types know tuples of one item only


async def end(connection: Connection, within_s: float) -> None:
    """End a connection in good order, which with TLS takes an answer of the other side; after a time without it."""
    with suppress(*FAILURES):  # it is to end, and has then, in whatever way
        async with asyncio.timeout(within_s):
            await connection.disconnect()


async def exchange(connection: Connection, *commands: tuple[Argument, ...]) -> list[Any]:
    """Send commands together and return the answers.

    Raises:
        Exception: any of `translating.FAILURES`; the connection cannot be used any more then.
    """
    await connection.send_packed_command([pack(*command) for command in commands], check_health=False)
    return [await connection.read_response(disable_decoding=True) for _ in commands]


def _user(username: str | None, password: Any) -> dict[str, str | None]:
    if password is None:
        return {}
    return {"username": username, "password": password.reveal()}


def _tls_context(settings: RedisSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
        if settings.tls_cert_file is not None:
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except OSError as error:
        files = (settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file)
        names = ", ".join(name for name in files if name is not None)
        raise SettingsError(f"cache.redis.tls_*_file: {names}: cannot be used: {error}") from None
    return context
