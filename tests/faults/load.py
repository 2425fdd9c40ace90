"""A running load: clients that write, read and race, each at its own pace, and note down all that they do and see.

Which client asks what for which key follows from a seed, which makes a run repeatable as far as the timing of servers
allows. No two values are alike.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final, Literal
from urllib.parse import quote

from kvcore.model import ZERO
from kvcore.testing.waiting import eventually
from tests.faults.availability import WARM, Service, is_served, service_of
from tests.faults.connection import Answer, Connection, Exchange, NoAnswerError
from tests.faults.history import Fate, Found, History, Read, Write

__all__ = ("Client", "Connect", "Load", "running_load")

Connect = Callable[[list[str]], Exchange]
"""Makes the connection of a client, which may go to any of these nodes."""

_PAUSE_S: Final = 0.02
_PAUSE_AFTER_FAILURE_S: Final = 0.1
_MOST_STEPS: Final = 5_000
_SERVED_WITHIN_S: Final = 40.0
_WARM_KEYS: Final = 20
_SHARED_KEYS: Final = 5
_RACES: Final = 2


class Client:
    """One client: a connection, and what it knows of each key's version."""

    def __init__(
        self, name: str, urls: Sequence[str], history: History, random: Random, *, connect: Connect = Connection
    ) -> None:
        self.name = name
        self.random = random
        self.served_s: dict[Service, float] = {}
        self._history = history
        self._connection = connect(list(urls))
        self._known: defaultdict[str, str] = defaultdict(lambda: ZERO)
        self._numbers = itertools.count()

    async def put(self, key: str, *, expected: str | None = None, ack: str = "") -> Write:
        """Write a value that nobody has written before."""
        value = f"{self.name}-{next(self._numbers)}"
        body = json.dumps({"data": {"key": key, "value": value}}).encode()
        return await self._write("PUT", f"/kv{ack and f'?ack={ack}'}", key, value, expected, body)

    async def delete(self, key: str) -> Write:
        """Delete a key."""
        return await self._write("DELETE", f"/kv?key={quote(key, safe='')}", key, None, None, b"")

    async def get(self, key: str, *, in_session: bool = False, fresh: bool = False) -> Read:
        """Read a key: at least as new as this client knows it `in_session`, and from the store if `fresh`."""
        query = f"key={quote(key, safe='')}"
        if in_session and self._known[key] != ZERO:
            query += f"&min_version={self._known[key]}"
        began_s = _now_s()
        try:
            answer = await self._connection.request(
                "GET", f"/kv?{query}", {"Cache-Control": "no-cache"} if fresh else {}
            )
        except NoAnswerError:
            found = None
        else:
            found = _found(answer)
        read = Read(client=self.name, key=key, began_s=began_s, ended_s=_now_s(), found=found, in_session=in_session)
        self._history.reads.append(read)
        await self._take_note(read, found.version if found else ZERO)
        return read

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def _write(
        self, method: str, target: str, key: str, value: str | None, expected: str | None, body: bytes
    ) -> Write:
        began_s = _now_s()
        version: str = ZERO
        try:
            answer = await self._connection.request(method, target, _condition(expected), body)
        except NoAnswerError as error:
            fate = Fate.UNKNOWN if error.sent else Fate.REFUSED
        else:
            fate = _fate(answer)
            if fate is Fate.ACKNOWLEDGED:
                version = answer.version
        write = Write(
            client=self.name,
            key=key,
            value=value,
            began_s=began_s,
            ended_s=_now_s(),
            fate=fate,
            version=version,
            expected=expected,
        )
        self._history.writes.append(write)
        await self._take_note(write, version)
        return write

    async def _take_note(self, done: Write | Read, version: str) -> None:
        self._known[done.key] = max(self._known[done.key], version)
        if is_served(done):
            self.served_s[service_of(done)] = done.began_s
        else:
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)  # not to spin while there is no answer; nothing is waited for


def _now_s() -> float:
    return time.monotonic()


def _condition(expected: str | None) -> dict[str, str]:
    if expected is None:
        return {}
    return {"If-None-Match": "*"} if expected == ZERO else {"If-Match": f'"{expected}"'}


def _fate(answer: Answer) -> Fate:
    match answer.status:
        case 200 | 201 | 202:
            return Fate.ACKNOWLEDGED
        case 412:
            return Fate.CONFLICT
        case 503:
            outcome: Literal["not-applied", "unknown"] = answer.document["outcome"]
            return Fate.REFUSED if outcome == "not-applied" else Fate.UNKNOWN
    raise RuntimeError(f"a write was answered {answer.status}: {answer.body!r}")


def _found(answer: Answer) -> Found | None:
    match answer.status:
        case 200:
            return Found(answer.document["data"]["value"], answer.version)
        case 404:
            return Found()
        case 503:
            return None
    raise RuntimeError(f"a read was answered {answer.status}: {answer.body!r}")


class Load:
    """Clients at work on nodes, until they are stopped; `prefix` begins the names of all their keys."""

    def __init__(self, urls: Sequence[str], *, prefix: str, seed: int, connect: Connect = Connection) -> None:
        self.history = History()
        self._urls = urls
        self._connect = connect
        self._prefix = prefix
        self._seed = seed
        self._clients: list[Client] = []
        self._stopped = asyncio.Event()
        self._written_once: list[str] = []

    async def prepare(self) -> None:
        """Bring the warm keys to the store and into the cache."""
        client = self._client("prepare")
        for key in self._warm:
            for _ in range(20):
                if (await client.put(key, ack="stored")).fate is Fate.ACKNOWLEDGED:
                    break
            await client.get(key)

    def work(self) -> Iterator[Awaitable[None]]:
        """Yield what each client does."""
        for number in range(3):
            yield self._repeat(f"writer{number}", self._write_something)
            yield self._repeat(f"reader{number}", self._read_something)
        for number in range(2):
            yield self._repeat(f"session{number}", self._live_a_session)
            yield self._repeat(f"warm{number}", self._read_what_is_cached)
        for race in range(_RACES):
            for number in range(3):
                yield self._repeat(f"racer{race}.{number}", self._race, f"{self._prefix}/race/{race}")

    async def serves(self, services: Iterable[Service], *, since_s: float) -> None:
        """Wait until each of these services has served something that was asked for at `since_s` or later.

        Raises:
            AssertionError: one of them has not, within 40 s.
        """
        for service in services:

            async def is_served(service: Service = service) -> bool:
                return any(client.served_s.get(service, 0.0) >= since_s for client in self._clients)

            await eventually(is_served, within_s=_SERVED_WITHIN_S, what=f"that {service} are served")

    async def does(self, operations: int) -> None:
        """Wait until so many more operations have ended, be they served or not."""
        before = len(self.history.operations)

        async def is_done() -> bool:
            return len(self.history.operations) >= before + operations

        await eventually(is_done, within_s=_SERVED_WITHIN_S, what=f"that clients do {operations} things more")

    def stop(self) -> None:
        """Let every client end with its current request."""
        self._stopped.set()

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self._clients:
            client.close()

    def _client(self, name: str) -> Client:
        # Half of the clients begin with the second node.
        first = len(self._clients) % len(self._urls)
        urls = [*self._urls[first:], *self._urls[:first]]
        client = Client(name, urls, self.history, Random(f"{self._seed}/{name}"), connect=self._connect)
        self._clients.append(client)
        return client

    async def _repeat(self, name: str, step: Callable[..., Awaitable[None]], *arguments: str) -> None:
        client = self._client(name)
        for _ in range(_MOST_STEPS):
            if self._stopped.is_set():
                return
            await step(client, *arguments)
            await asyncio.sleep(client.random.uniform(0, 2 * _PAUSE_S))  # the pace of a client; nothing is waited for

    @property
    def _warm(self) -> list[str]:
        return [f"{self._prefix}{WARM}{number}" for number in range(_WARM_KEYS)]

    def _shared(self, client: Client) -> str:
        return f"{self._prefix}/shared/{client.random.randrange(_SHARED_KEYS)}"

    async def _write_something(self, client: Client) -> None:
        """Write half of the values to a key of their own, where nothing hides that one is lost."""
        drawn = client.random.random()
        ack = client.random.choice(["", "", "", "stored"])
        if drawn < 0.5:
            key = f"{self._prefix}/once/{len(self._written_once)}"
            self._written_once.append(key)
            await client.put(key, ack=ack)
        elif drawn < 0.6:
            await client.delete(self._shared(client))
        else:
            await client.put(self._shared(client), ack=ack)

    async def _read_something(self, client: Client) -> None:
        recent = self._written_once[-50:]
        once = bool(recent) and client.random.random() < 0.3
        await client.get(client.random.choice(recent) if once else self._shared(client))

    async def _live_a_session(self, client: Client) -> None:
        """Mostly read, sometimes write, and never accept what is older than what is known."""
        key = self._shared(client)
        if client.random.random() < 0.2:
            await client.put(key)
        else:
            await client.get(key, in_session=True)

    async def _read_what_is_cached(self, client: Client) -> None:
        await client.get(client.random.choice(self._warm))

    async def _race(self, client: Client, key: str) -> None:
        """Replace what is there, if nobody else has in the meantime."""
        read = await client.get(key)
        if read.found is not None:
            await client.put(key, expected=read.found.version)


@asynccontextmanager
async def running_load(
    urls: Sequence[str], *, prefix: str, seed: int, connect: Connect = Connection
) -> AsyncIterator[Load]:
    """Run a load on nodes while the block runs; on leaving, every request has been answered or given up."""
    load = Load(urls, prefix=prefix, seed=seed, connect=connect)
    try:
        await load.prepare()
        async with asyncio.TaskGroup() as group:
            for work in load.work():
                group.create_task(_awaited(work))
            yield load
            load.stop()
    finally:
        load.close()


async def _awaited(work: Awaitable[None]) -> None:
    await work
