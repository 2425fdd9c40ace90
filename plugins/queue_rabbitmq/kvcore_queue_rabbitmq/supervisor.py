"""Keeps a connection to one of several hosts."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, TypeVar

from kvcore.errors import UnavailableError
from kvcore_queue_rabbitmq.link import Link
from kvcore_queue_rabbitmq.settings import RabbitSettings

__all__ = ("Supervisor",)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STEADY_S: Final = 2.0
"""A connection that has lived for as long was a good one: when it is lost the next host is tried at once."""
_MAX_PAUSE_S: Final = 1.0


class Supervisor(Generic[T]):
    """Connects to the hosts in turn, from a random one on, and again whenever the connection is lost.

    `prepare` makes out of a new connection what its users need. While there is none, whoever asks is refused at once:
    how long to wait is theirs to decide.
    """

    def __init__(
        self, settings: RabbitSettings, tls: ssl.SSLContext | None, prepare: Callable[[Link], Awaitable[T]]
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._prepare = prepare
        self._hosts = deque(random.sample(settings.hosts, len(settings.hosts)))
        self._prepared: T | None = None
        self._tried = asyncio.Event()
        self._problem = "no host has answered yet"
        self.link: Link | None = None
        """The present connection; None: there is none, or it is not prepared yet."""
        self.retries = 0
        """How often all hosts were tried again, after none could be used or the connection was lost at once."""

    @property
    def prepared(self) -> T:
        """What `prepare` has made out of the present connection.

        Raises:
            UnavailableError: there is none; nothing was done.
        """
        if self._prepared is None:
            raise UnavailableError(f"no RabbitMQ node can be used: {self._problem}", outcome="not-applied")
        return self._prepared

    @asynccontextmanager
    async def kept(self, until_s: float) -> AsyncIterator[None]:
        """Keep a connection until leaving. Enters when each host was tried, or at that time of the loop if it comes first."""
        keeping = asyncio.create_task(self._keep())
        try:
            with suppress(TimeoutError):  # opening does not need the server, calls say why
                async with asyncio.timeout_at(until_s):
                    await self._tried.wait()
            yield
        finally:
            self._problem = "the queue is closed"
            keeping.cancel()
            await asyncio.wait((keeping,))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            begun = loop.time()
            link = await self._connect()
            self._tried.set()
            if link is not None:
                try:
                    begun = loop.time()
                    await link.lost.wait()
                finally:
                    self._prepared = self.link = None
                    await link.close()
                self._problem = f"the connection to {link.host} was lost"
            if link is not None and loop.time() - begun > _STEADY_S:
                pause_s = 0.0
                continue
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads the load, hides nothing
            pause_s = min(max(2 * pause_s, 0.05), _MAX_PAUSE_S)
            self.retries += 1

    async def _connect(self) -> Link | None:
        """Try each host once, and return the first that serves."""
        problems: list[str] = []
        for _ in range(len(self._hosts)):
            host = self._hosts[0]
            self._hosts.rotate(-1)
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    return await self._open(host)
            except TimeoutError:
                problems.append(f"{host}: no answer within {self._settings.connect_timeout_s:g} s")
            except UnavailableError as error:
                problems.append(f"{host}: {error}")
            except Exception as error:  # nobody else would ever try again
                logger.exception("connecting to RabbitMQ at %s failed in an unforeseen way", host)
                problems.append(f"{host}: {type(error).__name__}: {error}")
        if self._problem != (problem := "; ".join(problems)):
            logger.warning("no RabbitMQ node can be used: %s", problem)
            self._problem = problem
        return None

    async def _open(self, host: str) -> Link:
        link = await Link.open(self._settings, host, self._tls)
        try:
            self._prepared = await self._prepare(link)
        except BaseException:  # also when cancelled: nobody else would close the link; raised again
            await link.close()
            raise
        self.link = link
        logger.info("connected to %s", link.server)
        return link
