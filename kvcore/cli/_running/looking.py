"""All that `kvctl doctor` asks running nodes and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec

from kvcore.cli._running.observing import found, metrics_of, once
from kvcore.cli._running.samples import Samples
from kvcore.client import AsyncClient, Health, Plugins, QueueStats, Setting
from kvcore.errors import KvcoreError

__all__ = ("DATE_PRECISION_MS", "Look", "look_at_all")

PATIENCE_S: Final = 8.0
"""For each question, the longest of which a node answers within 5 seconds: the probe of the lag."""
DATE_PRECISION_MS: Final = 2000
"""`Date` has whole seconds, and may be as old as that again."""
_MAX_AHEAD_S: Final = 60.0
"""The default of clock.max_ahead_s, for a node that does not tell its own."""


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

    @property
    def max_ahead_s(self) -> float:
        """How far versions may run ahead of its clock."""
        told = self.value_of("clock.max_ahead_s")
        return _MAX_AHEAD_S if told is None else float(told)

    def value_of(self, setting: str) -> Any:
        """Return the value of a setting, None where it is not told."""
        if isinstance(self.settings, KvcoreError):
            return None
        return next((one.value for one in self.settings if one.setting == setting), None)


async def look_at_all(urls: Sequence[str], token: str | None) -> list[Look]:
    """Look at nodes and workers, all at once.

    Raises:
        RequestError: one of these is no URL of a node, or the token is none.
    """
    return await asyncio.gather(*(_look(url, token) for url in dict.fromkeys(urls)))


async def _look(url: str, token: str | None) -> Look:
    ahead: list[float] = []

    async def note_date(answer: httpx.Response) -> None:
        with suppress(ValueError, OverflowError):  # there is none, or it is not as it should be: nothing is known then
            ahead.append(parsedate_to_datetime(answer.headers.get("date", "")).timestamp() + 1 - time.time())

    async with httpx.AsyncClient(event_hooks={"response": [note_date]}) as http:
        client = AsyncClient(url, token=token, retries=once(PATIENCE_S), http=http)
        # First, and alone: so the date is that of an answer which took no time.
        is_ready = await found(client.is_ready())
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
