"""What `kvctl doctor` says about broken set-ups, each by its message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from kvcore.backends import Finding
from kvcore.secret import Secret
from kvcore.testing.servers import RedisServers, ServerProcess
from kvcore.testing.servers.resp import ask
from kvcore.testing.waiting import eventually
from kvcore_cache_redis import RedisSettings, diagnose

MakeSettings = Callable[..., RedisSettings]
StartRedis = Callable[..., ServerProcess]


async def troubles(settings: RedisSettings) -> Sequence[Finding]:
    """Return the findings that are not all right; each says how it is known, and what to do."""
    found = [finding for finding in (await diagnose(settings)).findings if finding.level != "ok"]
    assert all(finding.remedy for finding in found)
    return found


def whats(findings: Sequence[Finding]) -> list[str]:
    """Return what is so, without where."""
    return [finding.what for finding in findings]


async def test_a_server_that_is_well(server: ServerProcess, settings_of: MakeSettings) -> None:
    """A server without fault is one line, and its clock is compared."""
    diagnosis = await diagnose(settings_of(server))
    (finding,) = diagnosis.findings
    assert finding.level == "ok"
    assert finding.about == f"Redis {server.address}"
    assert abs(diagnosis.ahead_ms[finding.about]) < 1000


async def test_sentinels_that_are_well(redis_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """Of whole servers nothing is said but that the master does not mind being cut off."""
    settings = sentinel_settings(redis_servers)
    assert whats(await troubles(settings)) == ["when it is cut off from its replicas it goes on taking writes"]
    assert len((await diagnose(settings)).ahead_ms) == 6


async def test_settings_that_cannot_work() -> None:
    """What opening would refuse is a finding."""
    assert whats(await troubles(RedisSettings())) == [
        "set cache.redis.sentinels (and master_name), or cache.redis.url for a single server"
    ]


async def test_nobody_listens(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """A port without a server."""
    own_server.stop()
    assert whats(await troubles(settings_of(own_server))) == ["it cannot be reached"]


async def test_a_server_that_does_not_answer(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """A server that takes the connection and is silent."""
    own_server.pause()
    assert whats(await troubles(settings_of(own_server))) == ["it does not answer in time"]


@pytest.mark.parametrize(
    ("password", "what"),
    [(None, "it wants a password, and none is set"), ("wrong", "it refuses the user or password")],
)
async def test_a_wrong_password(
    start_redis: StartRedis, settings_of: MakeSettings, password: str | None, what: str
) -> None:
    """No password and a wrong one are told apart, and neither is shown."""
    server = start_redis("--requirepass", "sesame")
    (finding,) = await troubles(settings_of(server, password=password and Secret(password)))
    assert finding.what == what
    assert "cache.redis.password" in finding.remedy
    assert "wrong" not in finding.evidence.replace("WRONGPASS", "").lower().replace("wrong username", "")


async def test_a_user_without_rights(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """A user whose access rules lack what is needed."""
    ask(own_server.port, "ACL", "SETUSER", "limited", "on", ">sesame", "~*", "+hello", "+auth", "+client")
    settings = settings_of(own_server, username="limited", password=Secret("sesame"))
    assert whats(await troubles(settings)) == ["its access rules forbid what is needed"]


async def test_a_replica_in_the_url(redis_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """A URL that leads to a replica."""
    master = redis_servers.current_master()
    replica = next(one for one in (redis_servers.master, *redis_servers.replicas) if one is not master)
    settings = sentinel_settings(redis_servers, sentinels=(), url=f"redis://{replica.address}")
    assert whats(await troubles(settings)) == ["it is a replica"]


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ("noeviction", "it refuses writes when its memory is full"),
        ("allkeys-lru", "it may evict entries that the store does not have yet"),
        ("volatile-lru", "it may evict entries that the store does not have yet"),
        ("volatile-random", "it may evict entries that the store does not have yet"),
    ],
)
async def test_a_memory_policy_that_loses_entries(
    start_redis: StartRedis, settings_of: MakeSettings, policy: str, what: str
) -> None:
    """Every policy but volatile-ttl, where there is a limit to which it applies."""
    server = start_redis("--maxmemory", "50mb", "--maxmemory-policy", policy)
    (finding,) = await troubles(settings_of(server))
    assert finding.what == what
    assert "volatile-ttl" in finding.remedy


async def test_a_server_that_takes_no_writes(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """A master that must have replicas to take writes, and has none."""
    (finding,) = await troubles(settings_of(start_redis("--min-replicas-to-write", "1")))
    assert finding.what == "it takes no writes"
    assert "NOREPLICAS" in finding.evidence


async def test_a_cluster(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """A node of a Redis Cluster, which has another way of dividing keys."""
    server = start_redis("--cluster-enabled", "yes")
    assert whats(await troubles(settings_of(server)))[0] == "it is part of a Redis Cluster, which is not supported"


async def test_a_master_name_that_the_sentinels_do_not_know(
    redis_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """Each Sentinel says which names it knows instead."""
    found = whats(await troubles(sentinel_settings(redis_servers, master_name="mymaster")))
    assert found == [f"it knows no master 'mymaster', but: {redis_servers.master_name}"] * 3 + [
        "no Sentinel says where it is"
    ]


async def test_sentinels_without_a_majority(harmed_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """Two of three Sentinels are dead: each is named, and what it means."""
    settings = sentinel_settings(harmed_servers)
    for sentinel in harmed_servers.sentinels[1:]:
        sentinel.kill()

    async def told() -> bool:
        found = whats(await troubles(settings))
        return found.count("it cannot be reached") == 2 and "there are not enough Sentinels for a failover" in found

    await eventually(told, within_s=20, what="the loss of the majority")


async def test_sentinels_that_see_no_master(harmed_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """All servers are dead: the Sentinels see the master down, and nobody can be reached."""
    settings = sentinel_settings(harmed_servers)
    for process in (harmed_servers.master, *harmed_servers.replicas):
        process.kill()

    async def told() -> bool:
        found = whats(await troubles(settings))
        return found.count("it sees the master down") == 3 and found.count("it cannot be reached") == 3

    await eventually(told, within_s=20, what="the loss of all servers")


async def test_too_few_sentinels(redis_servers: RedisServers, sentinel_settings: MakeSettings) -> None:
    """One Sentinel of three in the settings."""
    settings = sentinel_settings(redis_servers, sentinels=(redis_servers.sentinels[0].address,))
    found = whats(await troubles(settings))
    assert "1 Sentinels are configured, but it knows 3" in found
    assert "there is no majority when one of 1 Sentinels is away" in found


async def test_a_redis_in_place_of_a_sentinel(server: ServerProcess) -> None:
    """The port of a server among the Sentinels."""
    found = await troubles(RedisSettings(sentinels=(server.address,)))
    assert whats(found)[0] == "it is no Sentinel"


async def test_sentinels_that_disagree(
    start_redis: StartRedis, server: ServerProcess, redis_servers: RedisServers, sentinel_settings: MakeSettings
) -> None:
    """A Sentinel that names another server than the others do."""
    stray = await asyncio.to_thread(start_redis, sentinel=True)
    ask(stray.port, "SENTINEL", "MONITOR", redis_servers.master_name, "127.0.0.1", str(server.port), "1")
    addresses = (*(one.address for one in redis_servers.sentinels), stray.address)
    found = whats(await troubles(sentinel_settings(redis_servers, sentinels=addresses)))
    assert "the Sentinels disagree: 2 servers are called the master" in found
    assert "it has no replica to take its place" not in found
