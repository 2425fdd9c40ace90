"""One live connection to one host.

aiormq keeps the protocol. What it leaves open, and is closed here:

* An operation that is cancelled half way closes its channel, or leaves it in doubt. So here the driver's operations are
  never cancelled: each runs in a task of its own, and who waits for it may leave.
* An operation may wait for ever, or end by a `CancelledError` that nobody asked for, when the connection is lost. So all
  tasks end when the connection does, and a cancellation in them is told from one of the caller.
* AMQP's heartbeats notice a silent server after a multiple of seconds in two digits. So the server is asked for an answer
  every `heartbeat_s`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import aiormq
from aiormq.channel import Channel as AmqpChannel
from aiormq.connection import TransportFactory
from aiormq.exceptions import ConnectionNotAllowed, InvalidFrameError
from pamqp.commands import Queue

from kvcore.errors import Fate, OverloadedError, SettingsError, UnavailableError
from kvcore_queue_rabbitmq.settings import RabbitSettings
from kvcore_queue_rabbitmq.translating import translating

__all__ = ("Link", "tls_context")

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AMQP_HEARTBEAT_S: Final = 10
"""After two of these the server takes a silent client for dead, and gives its messages to others."""
_LOOKS: Final = 10
"""In how many parts an answer is waited for: a moment in which this process itself stood still uses up one of them."""
_LAST_PORT: Final = 65_535
_CHANNELS: Final = 2047
"""How many channels RabbitMQ allows on a connection (www.rabbitmq.com/docs/channels). Their numbers are used in turn: the
driver would give that of a channel which was just closed to the next one, which then may take the end of the former for its
own."""
_FAREWELL_S: Final = 0.5
"""How long the server has to say goodbye."""


class _Opened(TransportFactory):
    """Hands the driver streams that are open already: their owner can abort them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams = reader, writer

    async def create(self, *_: Any, **__: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._streams


class Link:
    """A connection, and everything that runs on it; `lost` is set when it has ended, for whatever reason."""

    def __init__(
        self, host: str, connection: aiormq.Connection, transport: asyncio.WriteTransport, heartbeat_s: float
    ) -> None:
        self.host = host
        self.lost = asyncio.Event()
        self._connection = connection
        self._transport = transport
        self._heartbeat_s = heartbeat_s
        self._running: set[asyncio.Task[Any]] = set()
        self._numbers = itertools.cycle(range(1, _CHANNELS + 1))
        self._asking: AmqpChannel

    @classmethod
    async def open(cls, settings: RabbitSettings, host: str, tls: ssl.SSLContext | None) -> Link:
        """Connect to a host; cancel this when it takes too long.

        Raises:
            UnavailableError: the host cannot be reached, or refuses us.
        """
        with translating("not-applied"):
            reader, writer = await _streams(host, tls)
            try:
                connection = aiormq.Connection(_url(settings, host), transport_factory=_Opened(reader, writer))
                connection.vhost = settings.virtual_host
                await _open(connection)
                link = cls(host, connection, writer.transport, settings.heartbeat_s)
                link._asking = await link._open_channel()
                link._start(await link._open_channel())
            except BaseException:  # also when cancelled: half a connection is of no use, and raised again
                writer.transport.abort()
                raise
        return link

    @property
    def server(self) -> str:
        """What answers, such as "RabbitMQ 3.13.7 at 10.0.0.7:5672"."""
        properties = self._connection.server_properties
        return f"{properties['product']!s} {properties['version']!s} at {self.host}"

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version, such as (3, 13, 7)."""
        return tuple(
            int(number) for number in re.findall(r"\d+", str(self._connection.server_properties.get("version")))
        )

    @property
    def is_blocked(self) -> bool:
        """Tell whether the server takes no messages on this connection, for want of memory or disk."""
        unblocked = self._connection.ready()  # all that the driver tells: an awaitable, ready at once or when unblocked
        try:
            unblocked.send(None)
        except StopIteration:
            return False
        unblocked.close()
        return True

    @property
    def is_used(self) -> bool:
        """Tell whether anybody waits for an answer of the server."""
        return len(self._running) > 1  # one watches, always

    def check(self) -> None:
        """Return when a message may be published now.

        Raises:
            UnavailableError: the connection is lost; nothing was done.
            OverloadedError: the server takes no messages now; nothing was done.
        """
        if self.lost.is_set():
            raise _lost(self.host, "not-applied")
        if self.is_blocked:
            raise OverloadedError(f"RabbitMQ at {self.host} has an alarm (memory or disk) and takes no messages")

    async def channel(self, *, confirms: bool = False) -> AmqpChannel:
        """Open a channel that lives as long as the connection: when it ends, so does the connection."""
        channel = await self.run(self._open_channel(confirms=confirms), "not-applied")
        self._depend_on(channel)
        return channel

    async def passing_channel(self) -> AmqpChannel:
        """Open a channel that may end before the connection does."""
        return await self.run(self._open_channel(), "not-applied")

    async def look(self, queue: str) -> Queue.DeclareOk:
        """Return what the server says about a queue. One that is missing ends the connection; the next declares it."""
        return await self.run(self._asking.queue_declare(queue, passive=True), "not-applied")

    async def run(self, operation: Coroutine[Any, Any, T], outcome: Fate) -> T:
        """Await an operation of the driver. Who is cancelled meanwhile leaves it to its end.

        Raises:
            UnavailableError: it failed, or the connection was lost before it ended.
        """
        if self.lost.is_set():
            operation.close()
            raise _lost(self.host, "not-applied")
        return await self.result(self.spawn(operation), outcome)

    async def result(self, task: asyncio.Task[T], outcome: Fate) -> T:
        """Await what was spawned; otherwise as `run`."""
        await asyncio.wait((task,))
        if task.cancelled():
            raise _lost(self.host, outcome)
        with translating(outcome):
            return task.result()

    def spawn(self, operation: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start something that ends with the connection at the latest; its exception need not be asked for."""
        task = asyncio.get_running_loop().create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def abort(self, why: str) -> None:
        """End the connection at once, without a word to the server; nothing happens if it has ended."""
        if not self.lost.is_set():
            logger.warning("giving up the connection to RabbitMQ at %s: %s", self.host, why)
            self._lose()
            self._transport.abort()

    async def close(self) -> None:
        """End the connection, with a word to the server if it listens. May be repeated."""
        self._lose()
        closing = asyncio.create_task(self._connection.close())
        await asyncio.wait((closing,), timeout=_FAREWELL_S)
        self._transport.abort()
        await asyncio.wait((closing, *self._running), timeout=_FAREWELL_S)
        self._ended(closing)

    async def _open_channel(self, *, confirms: bool = False) -> AmqpChannel:
        number = next(number for number in self._numbers if number not in self._connection.channels)
        return cast(AmqpChannel, await self._connection.channel(channel_number=number, publisher_confirms=confirms))

    def _start(self, channel: AmqpChannel) -> None:
        _when_closed(self._connection.closing, self._lose)
        self._depend_on(self._asking)
        self._depend_on(channel)
        self.spawn(self._watch(channel))

    def _depend_on(self, channel: AmqpChannel) -> None:
        _when_closed(channel.closing, lambda: self.abort("a channel was closed"))

    async def _watch(self, channel: AmqpChannel) -> None:
        """Ask the server for any answer, again and again, until there is none."""
        while True:
            await asyncio.sleep(self._heartbeat_s)  # the interval of asking
            if self.is_blocked:
                continue  # the server does not read from this connection now
            asked = self.spawn(_any_answer(channel))
            for _ in range(_LOOKS):
                if not asked.done():
                    await asyncio.wait((asked,), timeout=self._heartbeat_s / _LOOKS)
            if not asked.done() and not self.is_blocked:
                self.abort(f"no answer within {self._heartbeat_s:g} s")

    def _lose(self) -> None:
        self.lost.set()
        for task in self._running:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.done() and not task.cancelled():
            task.exception()  # it has been asked for, so nobody complains


async def _streams(host: str, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address, _, port = host.rpartition(":")
    try:
        if int(port) > _LAST_PORT:  # uvloop would take its last 16 bits
            raise OSError(f"{host} cannot be an address: the last port is {_LAST_PORT}")
        return await asyncio.open_connection(address.strip("[]"), int(port), ssl=tls)
    except UnicodeError as error:
        raise OSError(f"{host} cannot be an address: {error}") from error


async def _open(connection: aiormq.Connection) -> None:
    try:
        await connection.connect()
    except InvalidFrameError as error:
        if "Connection.OpenOk" not in str(error):
            raise
        # The server has closed the connection instead of opening it, and the driver has dropped the reason it gave.
        raise ConnectionNotAllowed(f"no access to the virtual host {connection.vhost!r}") from error


async def _any_answer(channel: AmqpChannel) -> None:
    await channel.basic_qos(prefetch_count=1)


def _when_closed(closing: Awaitable[Any], callback: Callable[[], Any]) -> None:
    asyncio.ensure_future(closing).add_done_callback(lambda _: callback())


def _lost(host: str, outcome: Fate) -> UnavailableError:
    return UnavailableError(f"the connection to RabbitMQ at {host} is lost", outcome=outcome)


def _url(settings: RabbitSettings, host: str) -> str:
    user = quote(settings.username, safe="")
    password = quote(settings.password.reveal() if settings.password else "guest", safe="")
    return f"amqp://{user}:{password}@{host}/?heartbeat={_AMQP_HEARTBEAT_S}&name=kvcore"


def tls_context(settings: RabbitSettings) -> ssl.SSLContext | None:
    """Return what to connect with; None for plain TCP. The files are read now, and not again.

    Raises:
        SettingsError: the certificates to trust, or the one to show, cannot be used.
    """
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise SettingsError(f"queue.rabbitmq.ca_file: {settings.ca_file} cannot be used: {error}") from error
    if settings.cert_file or settings.key_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
        except OSError as error:
            names = " with ".join(name for name in (settings.cert_file, settings.key_file) if name)
            raise SettingsError(f"queue.rabbitmq.cert_file: {names} cannot be used: {error}") from error
    return context
