"""All that `kvctl doctor` asks running nodes and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from kvcore.cli._observing import found, metrics_of, once
from kvcore.cli._samples import Samples
from kvcore.client import AsyncClient, Health, Plugins, QueueStats, Setting
from kvcore.errors import KvcoreError

__all__ = ("DATE_PRECISION_MS", "Look", "look_at_all")

PATIENCE_S: Final = 8.0
"""For each question, the longest of which a node answers within 5 seconds: the probe of the lag."""
DATE_PRECISION_MS: Final = 2000
"""`Date` has whole seconds, and may be as old as that again."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a node or worker has answered, or the error that came instead. `ahead_ms`: its clock, against this machine's."""

    url: str
    is_ready: bool | KvcoreError
    health: Health | KvcoreError
    metrics: Samples | KvcoreError
    settings: list[Setting] | KvcoreError
    plugins: Plugins | KvcoreError
    queue: QueueStats | KvcoreError
    lag_s: float | KvcoreError
    ahead_ms: int | None

    @property
    def is_worker(self) -> bool:
        """Whether it is a worker, which takes no values and so tells of no limits."""
        return isinstance(self.health, Health) and self.health.limits is None


async def look_at_all(urls: Sequence[str], token: str | None) -> list[Look]:
    """Look at nodes and workers, all at once.

    Raises:
        RequestError: one of these is no URL of a node, or the token is none.
    """
    return await asyncio.gather(*(_look(url, token) for url in dict.fromkeys(urls)))


async def _look(url: str, token: str | None) -> Look:
    ahead: list[float] = []

    async def note_date(answer: httpx.Response) -> None:
        if "date" in answer.headers:
            ahead.append(parsedate_to_datetime(answer.headers["date"]).timestamp() + 1 - time.time())

    async with httpx.AsyncClient(event_hooks={"response": [note_date]}) as http:
        client = AsyncClient(url, token=token, retries=once(PATIENCE_S), http=http)
        is_ready = await found(
            client.is_ready()
        )  # first, and alone: so the date is that of an answer which took no time
        health, metrics, settings, plugins, queue, lag_s = await asyncio.gather(
            found(client.health()),
            metrics_of(client),
            found(client.admin.config()),
            found(client.admin.plugins()),
            found(client.admin.queue()),
            found(client.admin.lag()),
        )
    return Look(
        url=url,
        is_ready=is_ready,
        health=health,
        metrics=metrics,
        settings=settings,
        plugins=plugins,
        queue=queue,
        lag_s=lag_s,
        ahead_ms=round(ahead[0] * 1000) if ahead else None,
    )
