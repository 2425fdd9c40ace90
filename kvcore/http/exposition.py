"""What `/metrics` shows: the metrics of this process, or, where several share a port, those of all of them.

Whichever process a scrape comes to asks the others, over a socket in a folder of their own, and gives every sample the
label `process`: the number of the process, which is that of the next one when it ends. So counters never go back
because another process was asked, and sums are made where they are wanted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

from kvcore.http.limiting import RateLimit
from kvcore.http.processes import Sibling

__all__ = ("Exposition", "merged", "own_exposition", "shared_exposition", "sparing")

logger = logging.getLogger(__name__)

Exposition = Callable[[], Awaitable[bytes]]
"""Returns metrics in Prometheus' text format."""

_PATIENCE_S: Final = 1.0
_HEADER: Final = b"# HELP "
_ANEW_PER_S: Final = 10.0
_ANEW_AT_ONCE: Final = 20


def own_exposition(registry: CollectorRegistry) -> Exposition:
    """Return what shows the metrics of this process alone."""

    async def shown() -> bytes:
        return generate_latest(registry)

    return shown


def sparing(exposition: Exposition, *, clock: Callable[[], float] = time.monotonic) -> Exposition:
    """Return what shows metrics that are made anew `_ANEW_PER_S` times a second at most, and in between the last ones.

    To make them takes many times as long as any other request, nothing else is served meanwhile, and anybody may ask.
    """
    limit = RateLimit(_ANEW_PER_S, _ANEW_AT_ONCE, clock=clock)
    last: asyncio.Future[bytes] | None = None

    async def shown() -> bytes:
        nonlocal last
        if not limit.take("") or last is None:
            last = asyncio.ensure_future(exposition())
        return await asyncio.shield(last)

    return shown


@asynccontextmanager
async def shared_exposition(registry: CollectorRegistry, sibling: Sibling) -> AsyncIterator[Exposition]:
    """Answer the other processes, and yield what asks them. A process that does not answer within a second is left out."""
    of_this_one = sparing(own_exposition(registry))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await of_this_one())
        await writer.drain()
        writer.close()

    async def shown() -> bytes:
        others = [number for number in range(sibling.count) if number != sibling.number]
        texts = await asyncio.gather(*(_asked(_socket_of(sibling, number)) for number in others))
        found = dict(zip(others, texts, strict=True)) | {sibling.number: await of_this_one()}
        return merged({number: found[number] for number in sorted(found)})

    own = _socket_of(sibling, sibling.number)
    own.unlink(missing_ok=True)  # of the process whose place this one has taken
    server = await asyncio.start_unix_server(answer, own)
    try:
        yield shown
    finally:
        server.close()


def merged(texts: dict[int, bytes]) -> bytes:
    """Return the metrics of several processes as those of one, each sample with the label `process`."""
    families: dict[bytes, list[bytes]] = {}
    for number, text in texts.items():
        samples: list[bytes] = []
        head = b""
        for line in text.splitlines():
            if line.startswith(_HEADER):
                head = line
            elif line.startswith(b"#"):
                samples = families.setdefault(head + b"\n" + line, [])
            else:
                samples.append(_labelled(line, number))
    return b"".join(b"\n".join((head, *samples, b"")) for head, samples in families.items())


def _labelled(sample: bytes, number: int) -> bytes:
    brace, space = sample.find(b"{"), sample.index(b" ")
    if 0 <= brace < space:
        return b'%s{process="%d",%s' % (sample[:brace], number, sample[brace + 1 :])
    return b'%s{process="%d"}%s' % (sample[:space], number, sample[space:])


async def _asked(socket: Path) -> bytes:
    """Return the metrics of another process; nothing where it does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        logger.warning("a process on this port does not tell its metrics: %s", error)
        return b""


def _socket_of(sibling: Sibling, number: int) -> Path:
    return sibling.folder / str(number)
