"""What happens when servers and Sentinels die, pause, restart and change their parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from kvcore.backends import Install, Reserve
from kvcore.errors import UnavailableError
from kvcore.model import Entry
from kvcore.testing.samples import version
from kvcore.testing.servers import RedisServers, ServerProcess
from kvcore.testing.waiting import eventually
from kvcore_cache_redis import RedisCache, RedisSettings, open_redis

MakeSettings = Callable[..., RedisSettings]

LONG_MS = 600_000
OLD = Entry(version(1), b"old")
NEW = Entry(version(2), b"new")


async def fill(cache: RedisCache, key: str, entry: Entry) -> None:
    """Install an entry, whatever the slot was."""
    await cache.reserve([Reserve(key, "token", False, LONG_MS)])
    await cache.install([Install(key, entry, "token", LONG_MS)])


async def asked(cache: RedisCache, key: str) -> Sequence[Entry | None]:
    """Read a slot; nothing where the cache cannot serve."""
    try:
        return list(await cache.read([key]))
    except UnavailableError:
        return []


async def serves_from(cache: RedisCache, server: ServerProcess) -> None:
    """Wait until the cache is on this server."""

    async def there() -> bool:
        try:
            return (await cache.ping()).endswith(f"master {server.address}")
        except UnavailableError:
            return False

    await eventually(there, within_s=20, what=f"the cache on {server.address}")


async def failover_from(servers: RedisServers, former: ServerProcess) -> ServerProcess:
    """Wait until the Sentinels name another master, and return it."""

    async def another() -> ServerProcess | None:
        now = await asyncio.to_thread(servers.current_master)
        return None if now is former else now

    found = await eventually(another, within_s=20, what="a new master")
    assert found is not None
    return found


async def test_a_killed_master_is_replaced_and_its_slots_are_forgotten(
    harmed_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """After a failover the cache serves from the new master, which has none of the old slots, though it was a replica of all."""
    async with open_redis(sentinel_settings(harmed_servers)) as cache:
        await fill(cache, "key", OLD)
        former = harmed_servers.current_master()
        former.kill()
        await serves_from(cache, await failover_from(harmed_servers, former))
        assert list(await cache.read(["key"])) == [None]
        await fill(cache, "key", NEW)
        assert list(await cache.read(["key"])) == [NEW]


async def test_a_master_that_comes_back_into_its_part_does_not_bring_back_its_slots(
    harmed_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """A server that is the master for a second time, without a restart, shows nothing of the first."""
    async with open_redis(sentinel_settings(harmed_servers)) as cache:
        first = harmed_servers.current_master()
        await fill(cache, "key", OLD)
        with _preferred(harmed_servers, first):
            for _ in range(2):
                await _promote_another(harmed_servers)
                await asyncio.to_thread(harmed_servers.restore)
        assert harmed_servers.current_master() is first
        await serves_from(cache, first)
        assert list(await cache.read(["key"])) == [None]


@contextmanager
def _preferred(servers: RedisServers, server: ServerProcess) -> Iterator[None]:
    """Have the Sentinels promote this one before all others: equal ones they choose by their random ids, always alike."""
    servers._ask(server.port, "CONFIG", "SET", "replica-priority", "1")
    try:
        yield
    finally:
        servers._ask(server.port, "CONFIG", "SET", "replica-priority", "100")


async def _promote_another(servers: RedisServers) -> None:
    former = servers.current_master()
    former.pause()
    await failover_from(servers, former)
    former.resume()


async def test_a_paused_master_is_left_and_never_read_again(
    harmed_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """A master that was replaced while it was paused wakes up believing in itself; nobody reads what it still holds."""
    async with open_redis(sentinel_settings(harmed_servers)) as cache:
        await fill(cache, "key", OLD)
        former = harmed_servers.current_master()
        former.pause()
        new = await failover_from(harmed_servers, former)
        former.resume()
        assert await asked(cache, "key") != [OLD]
        await serves_from(cache, new)
        await fill(cache, "key", NEW)
        await asyncio.to_thread(harmed_servers.restore)
        assert list(await cache.read(["key"])) == [NEW]


async def test_a_pause_is_answered_at_once_after_it_was_noticed(
    own_server: ServerProcess, settings_of: MakeSettings
) -> None:
    """A server that does not answer costs a call no more than until that is noticed, and then nothing."""
    async with open_redis(settings_of(own_server)) as cache:
        own_server.pause()
        with pytest.raises(UnavailableError):
            await cache.read(["key"])
        with pytest.raises(UnavailableError) as caught:
            await cache.read(["key"])
        assert caught.value.outcome == "not-applied"
        own_server.resume()
        await serves_from(cache, own_server)


async def test_a_ping_says_why_there_is_no_master(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """Who asks about a dead cache hears at once what is wrong with it, not that there was no answer."""
    async with open_redis(settings_of(own_server)) as cache:
        own_server.kill()

        async def is_left() -> bool:
            try:
                cache._watch.master()
            except UnavailableError:
                return True
            return False

        await eventually(is_left, what="the end of the master")
        pinging = asyncio.ensure_future(cache.ping())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert pinging.done()
        with pytest.raises(UnavailableError, match="no Redis master can be used now: "):
            await pinging


async def test_one_sentinel_of_three_is_enough(harmed_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """A cache opens, and goes on, with one Sentinel that answers, one that is dead and one that is paused."""
    async with open_redis(sentinel_settings(harmed_servers)) as cache:
        await fill(cache, "key", OLD)
        harmed_servers.sentinels[0].kill()
        harmed_servers.sentinels[1].pause()
        async with open_redis(sentinel_settings(harmed_servers)) as other:
            assert list(await other.read(["key"])) == [OLD]
        assert list(await cache.read(["key"])) == [OLD]


async def test_goes_on_without_any_sentinel(harmed_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """A master that is well is used though no Sentinel answers; a cache opened then cannot find it, and says why."""
    async with open_redis(sentinel_settings(harmed_servers)) as cache:
        await fill(cache, "key", OLD)
        for sentinel in harmed_servers.sentinels:
            sentinel.kill()
        async with open_redis(sentinel_settings(harmed_servers)) as other:
            with pytest.raises(UnavailableError, match=r"Sentinel .* cannot be reached"):
                await other.read(["key"])
        assert list(await cache.read(["key"])) == [OLD]


async def test_all_nodes_use_the_same_master_after_a_failover(
    harmed_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """Whichever Sentinels a node can reach, all nodes see each other's slots when things are at rest."""
    settings = [sentinel_settings(harmed_servers, sentinels=(one.address,)) for one in harmed_servers.sentinels]
    async with open_redis(settings[0]) as a, open_redis(settings[1]) as b, open_redis(settings[2]) as c:
        former = harmed_servers.current_master()
        former.kill()
        new = await failover_from(harmed_servers, former)
        for cache in (a, b, c):
            await serves_from(cache, new)
        await fill(a, "key", NEW)
        assert [list(await cache.read(["key"])) for cache in (a, b, c)] == [[NEW]] * 3


async def test_a_restarted_server_is_an_empty_cache(
    start_redis: Callable[..., ServerProcess], settings_of: MakeSettings
) -> None:
    """What a server has read back from its disk is not seen: it may be older than what the cache has forgotten."""
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    async with open_redis(settings_of(server)) as cache:
        await fill(cache, "key", OLD)
        await asyncio.to_thread(server.restart)
        await serves_from(cache, server)
        assert (await cache.stats()).keys_count > 1
        assert list(await cache.read(["key"])) == [None]


async def test_opens_without_a_server_and_finds_it_later(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """A node starts before its cache, whose calls fail at once until it is there."""
    own_server.stop()
    async with open_redis(settings_of(own_server)) as cache:
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            await cache.read(["key"])
        assert caught.value.outcome == "not-applied"
        await asyncio.to_thread(own_server.start)
        await serves_from(cache, own_server)
        await fill(cache, "key", NEW)


async def test_a_replica_is_no_master(redis_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """A URL that leads to a replica is refused, since what it holds may be old."""
    master = redis_servers.current_master()
    replica = next(one for one in (redis_servers.master, *redis_servers.replicas) if one is not master)
    settings = sentinel_settings(redis_servers, sentinels=(), url=f"redis://{replica.address}")
    async with open_redis(settings) as cache:
        with pytest.raises(UnavailableError, match="is a replica"):
            await cache.ping()


async def test_a_server_that_refuses_writes_is_no_cache(
    start_redis: Callable[..., ServerProcess], settings_of: MakeSettings
) -> None:
    """A master that is cut off from its replicas would show old slots that nobody can refresh."""
    server = start_redis("--min-replicas-to-write", "1")
    async with open_redis(settings_of(server)) as cache:
        with pytest.raises(UnavailableError, match="NOREPLICAS"):
            await cache.read(["key"])


async def test_a_wrong_password_is_said(redis_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """A refused password does not stop a node from starting; the error says what to mend, and not the password."""
    async with open_redis(sentinel_settings(redis_servers, password=None)) as cache:
        with pytest.raises(UnavailableError, match="`username` and `password`"):
            await cache.ping()
