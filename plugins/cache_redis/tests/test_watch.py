"""Which master is used when what is told about it changes, though all servers are well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from kvcore.errors import UnavailableError
from kvcore.testing.servers import ServerProcess
from kvcore.testing.servers.resp import ask
from kvcore.testing.waiting import eventually
from kvcore_cache_redis import RedisSettings
from kvcore_cache_redis.addresses import Address
from kvcore_cache_redis.connecting import Connector
from kvcore_cache_redis.seeking import Sentinels
from kvcore_cache_redis.watch import USABLE_S, Watch

StartRedis = Callable[..., ServerProcess]

SETTINGS = RedisSettings(url="redis://unused")


class Told:
    """Says where the master is as a test tells it; None: nobody can tell."""

    def __init__(self, server: ServerProcess) -> None:
        self.server: ServerProcess | None = server
        self.asked = 0

    async def addresses(self) -> Sequence[Address]:
        """Return what the test has told."""
        self.asked += 1
        if self.server is None:
            raise UnavailableError("nobody can tell")
        return [address_of(self.server)]

    async def aclose(self) -> None:
        """There is nothing to end."""


class Hesitant(Told):
    """Answers only when it may."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(server)
        self.may_answer = asyncio.Event()

    async def addresses(self) -> Sequence[Address]:
        """Return what the test has told, when it may."""
        found = await super().addresses()
        await self.may_answer.wait()
        return found


def address_of(server: ServerProcess) -> Address:
    """Return where a server is."""
    return Address(server.host, server.port)


@asynccontextmanager
async def watching(told: Told) -> AsyncIterator[Watch]:
    """Yield a watch that runs."""
    watch = Watch(told, Connector(SETTINGS), SETTINGS)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_leaves_a_living_master_when_another_is_named(server: ServerProcess, own_server: ServerProcess) -> None:
    """A former master that nobody has told of its fate is not used any longer."""
    told = Told(own_server)
    async with watching(told) as watch:
        assert (await watch.found()).address == address_of(own_server)
        told.server = server

        async def moved() -> bool:
            try:
                return watch.master().address == address_of(server)
            except UnavailableError:
                return False

        await eventually(moved, what="the move to the new master")


async def test_stays_while_nobody_can_tell(own_server: ServerProcess) -> None:
    """A master that is well goes on being used when no Sentinel answers."""
    told = Told(own_server)
    async with watching(told) as watch:
        master = await watch.found()
        told.server, told.asked = None, 0

        async def asked_often() -> bool:
            return told.asked > 3

        await eventually(asked_often, what="the questions")
        assert watch.master() is master


async def test_does_not_trust_what_was_not_confirmed_lately(own_server: ServerProcess) -> None:
    """A node that stood still for some time does not use the master that it knew before."""
    async with watching(Told(own_server)) as watch:
        master = await watch.found()
        master.confirmed_s -= USABLE_S + 1
        with pytest.raises(UnavailableError, match="not heard of lately") as caught:
            watch.master()
        assert caught.value.outcome == "not-applied"


async def test_a_new_era_is_used_only_when_others_have_left_the_old_one(own_server: ServerProcess) -> None:
    """A server that knows another era, as a promoted replica does, is used after a time in which all nodes have noticed."""
    ask(own_server.port, "HSET", "kvcore.era", "era", "another", "since_ms", "0")
    async with watching(Told(own_server)) as watch:
        looking = asyncio.create_task(watch.found())

        async def met() -> bool:
            return ask(own_server.port, "HGET", "kvcore.era", "era") != "another"

        await eventually(met, what="the meeting")
        with pytest.raises(UnavailableError, match="a moment ago"):
            watch.master()
        assert (await looking).known_ms >= 1000 * USABLE_S


async def test_a_promoted_server_without_a_record_is_not_used_at_once(own_server: ServerProcess) -> None:
    """A server that has taken over is known by its own word, also where FLUSHALL has removed what was noted there."""
    ask(own_server.port, "REPLICAOF", "127.0.0.1", "1")
    ask(own_server.port, "REPLICAOF", "NO", "ONE")
    async with watching(Told(own_server)) as watch:
        known_ms = (await watch.found()).known_ms
    assert 1000 * USABLE_S <= known_ms < 1_000_000_000


async def test_a_clock_that_was_set_back_does_not_keep_a_master_away(own_server: ServerProcess) -> None:
    """An era that began in the future of the server's clock is taken to begin now."""
    async with watching(Told(own_server)) as watch:
        await watch.found()
    ask(own_server.port, "HSET", "kvcore.era", "since_ms", "9999999999999")
    async with watching(Told(own_server)) as watch:
        assert (await watch.found()).known_ms >= 1000 * USABLE_S


async def test_a_master_is_trusted_from_when_it_was_asked_for(own_server: ServerProcess) -> None:
    """What the Sentinels said counts from when they were asked, however long it took to meet the master then."""
    told = Hesitant(own_server)
    async with watching(told) as watch:

        async def is_asked() -> bool:
            return told.asked > 0

        await eventually(is_asked, what="the question")
        asked_by_s = asyncio.get_running_loop().time()
        told.may_answer.set()
        assert (await watch.found()).confirmed_s <= asked_by_s


async def test_the_sentinel_that_knows_of_the_last_failover_is_believed(
    start_redis: StartRedis, server: ServerProcess, own_server: ServerProcess
) -> None:
    """Of Sentinels that name different servers the one with the highest epoch counts, wherever it stands in the settings."""
    stale, current = (
        start_redis(
            sentinel=True,
            more=f"sentinel monitor kvcore 127.0.0.1 {named.port} 2\nsentinel config-epoch kvcore {epoch}\n",
        )
        for named, epoch in ((server, 1), (own_server, 2))
    )
    connector = Connector(SETTINGS, to_sentinels=True)
    for order in ((stale, current), (current, stale)):
        sentinels = Sentinels([address_of(one) for one in order], "kvcore", connector)
        assert list(await sentinels.addresses()) == [address_of(own_server)]
        await sentinels.aclose()
