"""Looking at nodes and workers again and again, for `kvctl top`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live

from kvcore.cli._running.figures import Figures, figures_of
from kvcore.cli._running.observing import Observation, observed, once
from kvcore.cli._running.screen import Screen
from kvcore.client import AsyncClient

__all__ = ("live", "one_interval")

SHORTEST_PATIENCE_S: Final = 1.0
LONGEST_PATIENCE_S: Final = 5.0
"""A node has one interval to answer, within these."""


async def one_interval(urls: Sequence[str], token: str | None, interval_s: float) -> list[Figures]:
    """Return the figures of one interval.

    Raises:
        RequestError: one of these is no URL of a node, or the token is none.
    """
    async with _watching(urls, token, interval_s) as watch:
        await watch.look()
        await asyncio.sleep(interval_s)  # what is measured is what happens meanwhile
        return await watch.look()


async def live(console: Console, urls: Sequence[str], token: str | None, interval_s: float) -> None:
    """Show the figures of each interval on a terminal, until q, Ctrl-C or SIGTERM ends it.

    Raises:
        RequestError: one of these is no URL of a node, or the token is none.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with _watching(urls, token, interval_s) as watch:
        with _keyboard(ended), Live(console=console, screen=True, auto_refresh=False) as view:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, ended.set)
            loop.add_signal_handler(signal.SIGWINCH, view.refresh)
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(_show(watch, view, interval_s))
                await ended.wait()
                showing.cancel()


class Watch:
    """Looks at nodes."""

    def __init__(self, clients: dict[str, AsyncClient]) -> None:
        self._clients = clients
        self._seen: dict[str, Observation] = {}

    async def look(self) -> list[Figures]:
        """Return the figures of all nodes since the look before."""
        before = self._seen
        now = await asyncio.gather(*map(observed, self._clients.values()))
        self._seen = dict(zip(self._clients, now, strict=True))
        return [figures_of(url, before.get(url), one) for url, one in self._seen.items()]


@asynccontextmanager
async def _watching(urls: Sequence[str], token: str | None, interval_s: float) -> AsyncIterator[Watch]:
    retries = once(min(max(interval_s, SHORTEST_PATIENCE_S), LONGEST_PATIENCE_S))
    clients = {url: AsyncClient(url, token=token, retries=retries) for url in urls}
    async with AsyncExitStack() as stack:
        for client in clients.values():
            await stack.enter_async_context(client)
        yield Watch(clients)


async def _show(watch: Watch, view: Live, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    while True:
        figures = await watch.look()
        view.update(Screen(figures, head=_head(figures, interval_s)), refresh=True)
        next_s = max(next_s + interval_s, loop.time())
        await asyncio.sleep(next_s - loop.time())


def _head(figures: Sequence[Figures], interval_s: float) -> str:
    answering = sum(one.status != "unreachable" for one in figures)
    requests = sum(one.requests_per_s or 0.0 for one in figures)
    return f"{answering} of {len(figures)} answer, {requests:,.0f} requests/s, every {interval_s:g} s; q ends"


@contextmanager
def _keyboard(ended: asyncio.Event) -> Iterator[None]:
    """Set the event when q is pressed, where there is a keyboard; what else is pressed is not shown."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        typed = os.read(keyboard, 64)
        if not typed or b"q" in typed.lower():  # nothing: the terminal is gone
            ended.set()
            loop.remove_reader(keyboard)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
