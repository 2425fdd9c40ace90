"""A connection without a network: the protocol on a transport that keeps what is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from prometheus_client import generate_latest

from kvcore.http.connections import Connections
from kvcore.http.limiting import Buffers
from kvcore.http.protocol import StrictHttpProtocol
from kvcore.metrics import Metrics
from kvcore.settings import HttpSettings, LimitSettings
from tests.unit.core.stage import settings_of

__all__ = ("Stage", "Wire")


App = Callable[[Any, Any, Any], Awaitable[None]]


class Wire(asyncio.Transport):
    """The transport of a connection: keeps what is written, of which `untaken` bytes are not sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.untaken = 0
        self.ending = ""
        self.is_half_closed = False
        self._is_read = True

    def write(self, data: Any) -> None:
        assert not self.is_half_closed
        self.writes.append(bytes(data))

    @property
    def written(self) -> bytes:
        """All of it together."""
        return b"".join(self.writes)

    def get_write_buffer_size(self) -> int:
        return self.untaken

    def is_closing(self) -> bool:
        return bool(self.ending)

    def close(self) -> None:
        self.ending = self.ending or "closed"

    def write_eof(self) -> None:
        assert not self.ending
        self.is_half_closed = True

    def abort(self) -> None:
        self.ending = "aborted"

    def pause_reading(self) -> None:
        self._is_read = False

    def resume_reading(self) -> None:
        self._is_read = True

    def is_read(self) -> bool:
        """Tell whether the other end may send on."""
        return self._is_read


class Stage:
    """Connections to an application that reads bodies to their end, as long as it is not told to wait."""

    def __init__(self, *, app: App | None = None, connections: int = 10, buffered_bytes: int = 1 << 20) -> None:
        self._app = app or self.app
        settings = settings_of(
            http=HttpSettings(
                head_timeout_s=10, body_timeout_s=10, send_timeout_s=30, keep_alive_s=75, min_bytes_per_s=100
            ),
            limits=LimitSettings(connections=connections),
        )
        self.metrics = Metrics()
        self.buffers = Buffers(buffered_bytes)
        self.connections = Connections(settings, self.metrics, self.buffers)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def app(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        while (await receive()).get("more_body"):
            pass
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await self.may_go_on.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self) -> tuple[StrictHttpProtocol, Wire]:
        """Return one more connection."""
        config = uvicorn.Config(self._app, http=StrictHttpProtocol, log_config=None, interface="asgi3")
        config.load()
        protocol, wire = StrictHttpProtocol(config, self.connections, {}), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    async def settled(self) -> None:
        """Return when all requests are answered."""
        while self.connections.tasks:
            await asyncio.sleep(0)

    def counted(self, limit: str) -> bool:
        """Tell whether a limit was met once."""
        return f'limited_total{{limit="{limit}"}} 1.0' in generate_latest(self.metrics.registry).decode()
