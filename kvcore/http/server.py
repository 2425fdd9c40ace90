"""Serving a node over HTTP until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn
import uvloop

from kvcore.config import HttpSettings, Resolved
from kvcore.errors import SettingsError
from kvcore.http.app import build_app
from kvcore.http.protocol import StrictHttpProtocol
from kvcore.plugins import Plugins
from kvcore.runtime import Node, open_node

__all__ = ("serve",)


def serve(resolved: Resolved, plugins: Plugins) -> None:
    """Open a node and serve it until SIGTERM or SIGINT; then finish what is under way and close it.

    Raises:
        SettingsError: the port is in use, or a backend cannot work with its settings.
        UnavailableError: a backend cannot be opened now.
    """
    # uvicorn warns of every malformed request, and anybody can send those.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    with _bound(resolved.settings.http) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(resolved, plugins, listener))


async def _serve(resolved: Resolved, plugins: Plugins, listener: socket.socket) -> None:
    async with open_node(resolved, plugins) as node:
        config = uvicorn.Config(
            build_app(node, plugins),
            http=StrictHttpProtocol,
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(resolved.settings.http.shutdown_s)),
        )
        await NodeServer(config, node, listener).serve([listener])


class NodeServer(uvicorn.Server):
    """uvicorn's server, which says when it is ready, and drains before it stops."""

    def __init__(self, config: uvicorn.Config, node: Node, listener: socket.socket) -> None:
        super().__init__(config)
        self._node = node
        self._address = listener.getsockname()
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and tell where."""
        await super().startup(sockets)
        # What is there now stays until the end. Without this every full collection walks over it: some 40 ms in which
        # no request is served.
        gc.collect()
        gc.freeze()
        if self._stop_at is None:
            self._node.phase = "ready"
        host, port = self._address[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for name, path in (("console", "/"), ("docs", "/docs"), ("health", "/health"), ("metrics", "/metrics")):
            print(f"{name:8} {url}{path}", file=sys.stderr)  # noqa: T201 - what the user has asked for
        print(f"kvcore is ready, process {os.getpid()}; Ctrl-C stops it", file=sys.stderr, flush=True)  # noqa: T201 - as above

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; at a second signal, or for Ctrl-C, do not wait for load balancers to notice."""
        drain_s = 0.0 if sig == signal.SIGINT else self._node.settings.http.drain_s
        if self._stop_at is not None:
            self.force_exit = True
            drain_s = 0.0
        self._node.phase = "draining"
        self._stop_at = time.monotonic() + drain_s

    async def on_tick(self, counter: int) -> bool:
        """Tell, ten times a second, whether to stop."""
        self.should_exit = self._stop_at is not None and time.monotonic() >= self._stop_at
        return await super().on_tick(counter)


def _bound(settings: HttpSettings) -> socket.socket:
    """Bind without listening: while the node starts, connections are refused."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"http.host: cannot listen at {settings.host}: {error}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"http.host: this machine does not have the address {settings.host}") from None
        hint = "choose another one with --port or KVCORE_HTTP__PORT"
        raise SettingsError(
            f"http.port: cannot listen at {settings.host}:{settings.port}: {error.strerror}; {hint}"
        ) from None
    return listener
