"""Writing a batch of items to a node, and what became of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal

from kvcore.client import Client, Put, Restore, Restored
from kvcore.errors import KvcoreError, RequestError, UnavailableError, UnsupportedError
from kvcore.transfer.lines import Item
from kvcore.transfer.patience import Patience

__all__ = ("Answer", "Writer")

Answer = Literal["written", "expired", "newer"] | KvcoreError
"""What became of an item; an error: it can never be written as it is."""


class Writer:
    """Writes batches, from several threads at once. `client` is None: it only says what would be written."""

    def __init__(
        self,
        client: Client | None,
        patience: Patience,
        *,
        keep_versions: bool,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._patience = patience
        self._keep_versions = keep_versions
        self._now_s = now_s

    def write(self, items: Sequence[Item]) -> list[Answer]:
        """Write items, and return what became of each.

        Raises:
            KvcoreError: that is not known of all of them, since the node does not answer, or refuses whoever asks.
        """
        now_s = self._now_s()
        live = [item for item in items if _remaining_s(item, now_s) > 0]
        answers = iter(self._answers(live, now_s))
        return [next(answers) if _remaining_s(item, now_s) > 0 else "expired" for item in items]

    def stop(self) -> None:
        """Give up what waits."""
        self._patience.stop()

    def _answers(self, items: Sequence[Item], now_s: float) -> list[Answer]:
        """Send items together; where the node refuses all for the sake of some, find these by halves."""
        if not items or self._client is None:
            return ["written"] * len(items)
        try:
            return _restore(self._client, items) if self._keep_versions else _put(self._client, items, now_s)
        except UnsupportedError:
            raise
        except RequestError as error:
            if len(items) == 1:
                return [error]
        middle = len(items) // 2
        return self._answers(items[:middle], now_s) + self._answers(items[middle:], now_s)


def _put(client: Client, items: Sequence[Item], now_s: float) -> list[Answer]:
    operations = [
        Put(
            item.key,
            item.value,
            media_type=item.media_type,
            ttl_s=None if item.expires_at is None else math.ceil(_remaining_s(item, now_s)),
        )
        for item in items
    ]
    answers: list[Answer] = []
    # What is only accepted could still be refused by the store, and nobody would know of which line.
    for result in client.batch(operations, ack="stored"):
        if isinstance(result, UnavailableError):
            raise result
        answers.append(result if isinstance(result, KvcoreError) else "written")
    return answers


def _restore(client: Client, items: Sequence[Item]) -> list[Answer]:
    entries = [Restore(item.key, item.value, item.media_type, item.version or "", item.expires_at) for item in items]
    return [_restored(result) for result in client.admin.restore(entries)]


def _restored(result: Restored | KvcoreError) -> Answer:
    if isinstance(result, KvcoreError):
        return result
    return "written" if result.detail == "restored" else result.detail


def _remaining_s(item: Item, now_s: float) -> float:
    return math.inf if item.expires_at is None else item.expires_at.timestamp() - now_s
