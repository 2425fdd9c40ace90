"""Many clients who increment one counter by its ETag, each of whom repeats a request until it is answered."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.faults.connection import Answer, Connection, NoAnswerError

__all__ = ("Tally", "count_up")

_PAUSE_S: Final = 0.05
_STORED: Final = {"Cache-Control": "no-cache"}


class Seen(NamedTuple):
    """What a client has read."""

    number: int
    version: str


@dataclass
class Tally:
    """What became of all increments; `final` is the counter at the end.

    `repeated` counts requests that were sent again since nobody knew what had become of them, and `unnoticed` those of
    them that had succeeded the first time: a 412 would have been a lie.
    """

    succeeded: int = 0
    failed: int = 0
    repeated: int = 0
    unnoticed: int = 0
    final: int = 0
    versions: Counter[str] = field(default_factory=Counter)


async def count_up(
    urls: list[str], key: str, *, clients: int, seconds: float, may_begin: Callable[[], object] = lambda: None
) -> Tally:
    """Let clients increment a counter for some seconds, spread over the nodes; return when each has its last answer."""
    tally = Tally()
    first = Connection(urls)
    await _answered(first, "PUT", f"/kv/{key}?ack=stored", {"Content-Type": "application/json"}, b"0")
    until = asyncio.get_running_loop().time() + seconds
    turns = [urls[number % len(urls) :] + urls[: number % len(urls)] for number in range(clients)]
    may_begin()
    await asyncio.gather(*(_client(turn, number, key, until, tally) for number, turn in enumerate(turns)))
    tally.final = (await _read(first, key, _STORED)).number
    first.close()
    return tally


async def _client(urls: list[str], number: int, key: str, until: float, tally: Tally) -> None:
    connection = Connection(urls)
    try:
        for attempt in itertools.count():
            if asyncio.get_running_loop().time() > until:
                return
            seen = await _read(connection, key)
            await _increment(connection, key, seen, f"{number}-{attempt}", tally)
    finally:
        connection.close()


async def _increment(connection: Connection, key: str, seen: Seen, request: str, tally: Tally) -> None:
    headers = {"Content-Type": "application/json", "If-Match": f'"{seen.version}"', "Idempotency-Key": request}
    answer, repeats = await _answered(connection, "PUT", f"/kv/{key}", headers, b"%d" % (seen.number + 1))
    tally.repeated += repeats > 0
    if answer.status == 412:
        tally.failed += 1
        return
    assert answer.status == 200, answer
    tally.succeeded += 1
    tally.unnoticed += repeats > 0
    tally.versions[answer.version] += 1


async def _read(connection: Connection, key: str, headers: dict[str, str] | None = None) -> Seen:
    answer, _ = await _answered(connection, "GET", f"/kv/{key}", headers or {})
    assert answer.status == 200, answer
    return Seen(int(answer.body), answer.version)


async def _answered(
    connection: Connection, method: str, target: str, headers: dict[str, str], body: bytes = b""
) -> tuple[Answer, int]:
    """Send a request until it is answered with something else than 503; return how often it was repeated, too."""
    for repeats in itertools.count():
        try:
            answer = await connection.request(method, target, headers, body)
        except NoAnswerError:
            await asyncio.sleep(_PAUSE_S)  # a client's pause before it tries again
            continue
        if answer.status != 503:
            return answer, repeats
        await asyncio.sleep(_PAUSE_S)  # the same
    raise AssertionError
