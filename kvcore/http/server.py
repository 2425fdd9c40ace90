"""Running a node or a worker, with its HTTP server, until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import FrameType
from typing import Any, Final

import uvicorn
import uvloop
from litestar.types import ASGIApp

from kvcore.config import Resolved
from kvcore.errors import KvcoreError
from kvcore.http.app import build_app, build_worker_app
from kvcore.http.connections import LINGER_S, Connections
from kvcore.http.exposition import Exposition, shared_exposition
from kvcore.http.limiting import Buffers
from kvcore.http.listener import bound, drop_handshakes, has_backlog
from kvcore.http.processes import Sibling, run_processes
from kvcore.http.protocol import StrictHttpProtocol
from kvcore.logs import announce, name_node
from kvcore.notifying import notify_ready
from kvcore.plugins import Plugins
from kvcore.runtime import Health, Instance, Node, WorkerInstance, open_node, open_worker

__all__ = ("run_node", "run_worker")

_OTHER_FILES: Final = 1024
"""Files besides those of clients' connections: databases, connections to servers."""
_HANDSHAKES_S: Final = 0.2
"""For handshakes under way to end: a round trip, and not much longer, since whoever comes meanwhile waits for a second."""
_BACKLOG_EVERY_S: Final = 0.05


def run_node(resolved: Resolved, plugins: Plugins) -> None:
    """Open a node and serve it until SIGTERM or SIGINT; then finish what is under way and close it.

    With `http.processes` there are as many nodes on the port, each in a process of its own.

    Raises:
        KvcoreError: one of several processes could not start.
        SettingsError: the port is in use, or a backend cannot work with its settings.
        UnavailableError: a backend cannot be opened now.
    """
    settings = resolved.settings.http
    _allow_files(resolved.settings.limits.connections)
    with bound("http", settings.host, settings.port) as listener:
        count = settings.processes
        if count == 1:
            _run(_serve_node(resolved, plugins, listener))
        else:
            run_processes(
                listener,
                count,
                lambda sibling: _run(_serve_node(resolved, plugins, listener, sibling)),
                lambda: _tell_ready("kvcore", f" with {count} of its own"),
            )


def run_worker(resolved: Resolved, plugins: Plugins) -> None:
    """Open a worker and let it drain the queue until SIGTERM or SIGINT; then finish what it has in hand and close it.

    Raises:
        KvcoreError: the worker has ended by a fault.
        SettingsError: the port is in use, or a backend cannot work with its settings.
        UnavailableError: a backend cannot be opened now.
    """
    settings = resolved.settings.worker
    with bound("worker", settings.host, settings.port) as listener:
        _run(_serve_worker(resolved, plugins, listener))


def _tell_ready(title: str, how: str = "") -> None:
    announce(f"{title} is ready, process {os.getpid()}{how}; Ctrl-C stops it")
    notify_ready()


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    # uvicorn warns of every malformed request, and anybody can send those.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


async def _serve_node(
    resolved: Resolved, plugins: Plugins, listener: socket.socket, sibling: Sibling | None = None
) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(resolved, plugins))
        name_node(node.tag)
        exposition: Exposition | None = None
        if sibling is not None:
            exposition = await stack.enter_async_context(shared_exposition(node.metrics.registry, sibling))
        config = _uvicorn(build_app(node, plugins, exposition), round(resolved.settings.http.shutdown_s))
        await NodeServer(config, node, listener, sibling).serve([listener])
    announce(f"kvcore has stopped, process {os.getpid()}")


async def _serve_worker(resolved: Resolved, plugins: Plugins, listener: socket.socket) -> None:
    async with open_worker(resolved, plugins) as instance:
        name_node(instance.tag)
        task = asyncio.create_task(instance.worker.run(), name="worker")
        config = _uvicorn(build_worker_app(instance), 1)
        try:
            await WorkerServer(config, instance, listener, task).serve([listener])
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and (fault := task.exception()) is not None:
            raise KvcoreError(f"the worker has ended by a fault: {fault!r}") from fault
    announce(f"the worker has stopped, process {os.getpid()}")


def _uvicorn(app: ASGIApp, shutdown_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=StrictHttpProtocol,
        ws="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # uvicorn's is up to a second old, so what was written a moment ago would be from the future
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, shutdown_s),
    )


class InstanceServer(uvicorn.Server):
    """uvicorn's server, which says when it is ready, and where, and looks after its connections."""

    title = "kvcore"
    pages: tuple[tuple[str, str], ...] = (("health", "/health"), ("metrics", "/metrics"))

    def __init__(self, config: uvicorn.Config, instance: Instance, listener: socket.socket) -> None:
        super().__init__(config)
        self._connections = Connections(
            instance.settings, instance.metrics, Buffers(instance.settings.limits.buffered_bytes)
        )
        self.server_state = self._connections
        self._instance = instance
        self._listener = listener
        self._address = listener.getsockname()
        self._linger_s = 0.0
        self._is_stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and tell where, and what is there behind it."""
        health = await self._instance.health()
        await super().startup(sockets)
        # What is there now stays until the end. Without this every full collection walks over it: some 40 ms in which
        # no request is served.
        gc.collect()
        gc.freeze()
        if self._instance.phase == "starting":
            self._instance.phase = "ready"
        self.tell(health)

    def tell(self, health: Health) -> None:
        """Say what is there, and where, and that it is ready."""
        self.tell_places(health)
        _tell_ready(self.title)

    def tell_places(self, health: Health) -> None:
        """Say which tiers there are, and where the pages are."""
        host, port = self._address[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for kind, tier in health.components.items():
            announce(f"{kind:8} {tier.backend}: {tier.server if tier.status == 'up' else f'down, {tier.detail}'}")
        for name, path in self.pages:
            announce(f"{name:8} {url}{path}")

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections, ten times a second, and tell whether to stop."""
        self._connections.sweep(counter)
        if self._instance.phase == "draining" and not self._is_stopping:
            self._is_stopping = True  # told here, and not where the signal comes: that may be in the midst of a line
            self._connections.drain(self._linger_s)
            announce(f"{self.title} is stopping, process {os.getpid()}")
        return await super().on_tick(counter)


class NodeServer(InstanceServer):
    """Serves a node, and drains before it stops, so that no request is lost.

    While it drains, each connection ends with its next answer. Then it lets nobody begin a connection, takes those that
    have got through, and closes the port; who has not sent a first request yet has a moment for it. Connections that have
    had an answer before and were idle all the time are closed at once: a proxy that keeps its own for less than
    `http.drain_s` has none of these. Without `http.drain_s`, and for Ctrl-C, nobody is waited for but requests under way.
    """

    pages = (("console", "/"), ("docs", "/docs"), *InstanceServer.pages)

    def __init__(self, config: uvicorn.Config, node: Node, listener: socket.socket, sibling: Sibling | None) -> None:
        super().__init__(config, node, listener)
        self._drain_s = node.settings.http.drain_s
        self._stop_at: float | None = None
        self._sibling = sibling

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; one of several processes tells who has started it, and stops when that one is no more."""
        await super().startup(sockets)
        if self._sibling is not None:
            lifeline = self._sibling.lifeline
            loop = asyncio.get_running_loop()
            loop.add_reader(lifeline, self._orphaned, loop, lifeline)
            self._sibling.is_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and finish what is under way."""
        if self._linger_s and (self._sibling is None or self._sibling.all_stop()):
            await self._accept_the_last()
        await super().shutdown(sockets)

    async def _accept_the_last(self) -> None:
        """Return when nobody waits to be accepted, and nobody can come; or at once where the system has no way to do that.

        uvicorn closes the port in the same turn of the loop.
        """
        handshakes_end = time.monotonic() + _HANDSHAKES_S
        is_over = not drop_handshakes(self._listener)
        while not is_over and not self.force_exit:
            await asyncio.sleep(_BACKLOG_EVERY_S)
            is_over = time.monotonic() >= handshakes_end and not has_backlog(self._listener)

    def _orphaned(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        loop.remove_reader(lifeline)
        self.handle_exit(signal.SIGTERM, None)

    def tell(self, health: Health) -> None:
        """Say what is there, and where: one of several processes for all of them."""
        if self._sibling is None:
            super().tell(health)
        elif self._sibling.number == 0:
            self.tell_places(health)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; at a second signal, or for Ctrl-C, do not wait for load balancers to notice."""
        drain_s = 0.0 if sig == signal.SIGINT else self._drain_s
        if self._stop_at is not None:
            self.force_exit = True
            drain_s = 0.0
        self._linger_s = LINGER_S if drain_s else 0.0
        self._instance.phase = "draining"
        self._stop_at = time.monotonic() + drain_s

    async def on_tick(self, counter: int) -> bool:
        """Tell, ten times a second, whether to stop."""
        self.should_exit = self._stop_at is not None and time.monotonic() >= self._stop_at
        return await super().on_tick(counter)


class WorkerServer(InstanceServer):
    """Serves the health and the metrics of a worker, for as long as that runs."""

    title = "the worker"

    def __init__(
        self,
        config: uvicorn.Config,
        instance: WorkerInstance,
        listener: socket.socket,
        task: asyncio.Task[None],
    ) -> None:
        super().__init__(config, instance, listener)
        self._worker = instance.worker
        self._task = task

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let the worker finish what it has in hand; at a second signal, do not wait for that."""
        if self._instance.phase == "draining":
            self._worker.hurry()
        self._instance.phase = "draining"
        self._task.cancel()

    async def on_tick(self, counter: int) -> bool:
        """Tell, ten times a second, whether to stop."""
        self.should_exit = self._task.done()
        return await super().on_tick(counter)


def _allow_files(connections: int) -> None:
    """Let the process have as many files open as it may have connections, where the system lets it set that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
