"""What is asked of Redis, and what comes back when things go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kvcore.backends import Install, PoolStats, Refresh, Reserve
from kvcore.errors import SettingsError, UnavailableError
from kvcore.model import Entry
from kvcore.testing.samples import version
from kvcore.testing.servers import ServerProcess
from kvcore.testing.servers.ports import free_port
from kvcore.testing.servers.resp import ask
from kvcore.testing.waiting import eventually
from kvcore_cache_redis import RedisCache, RedisSettings, open_redis

MakeSettings = Callable[..., RedisSettings]
StartRedis = Callable[..., ServerProcess]

LONG_MS = 600_000
VALUE = Entry(version(1), b"value")


async def fill(cache: RedisCache, entries: dict[str, Entry], lifetime_ms: int = LONG_MS) -> None:
    """Install entries into absent slots."""
    await cache.reserve([Reserve(key, "token", False, LONG_MS) for key in entries])
    await cache.install([Install(key, entry, "token", lifetime_ms) for key, entry in entries.items()])


async def count(cache: RedisCache, keys: Sequence[str]) -> int:
    """Count those that are entries."""
    return sum(entry is not None for entry in await cache.read(keys))


# --- calls ---


async def test_a_slot_that_cannot_be_read_is_a_miss(own_server: ServerProcess, settings_of: MakeSettings) -> None:
    """What another version of kvcore may have left costs nobody else an answer."""
    async with open_redis(settings_of(own_server)) as cache:
        await fill(cache, {"good": VALUE, "strange": VALUE})
        found = ask(own_server.port, "KEYS", "*:strange")
        assert isinstance(found, list)
        ask(own_server.port, "SET", str(found[0]), "\x93" + "1" * 24)
        assert list(await cache.read(["good", "strange", "good"])) == [VALUE, None, VALUE]


async def test_calls_of_any_length_are_answered_in_full(cache: RedisCache) -> None:
    """A call for more slots, or more bytes, than one command should carry is answered as if there were one command."""
    entries = {f"long/{n}": Entry(version(n + 1), b"v" * (3000 if n % 2 else 0)) for n in range(1500)}
    granted = await cache.reserve([Reserve(key, "token", True, LONG_MS) for key in entries])
    assert [answer.granted for answer in granted] == [True] * 1500
    await cache.install([Install(key, entry, "token", LONG_MS) for key, entry in entries.items()])
    assert list(await cache.read(list(entries))) == list(entries.values())
    await cache.refresh([Refresh(key, version(5000), None, LONG_MS) for key in entries])
    assert await count(cache, list(entries)) == 0


async def test_scripts_that_the_server_has_forgotten_are_sent_again(
    own_server: ServerProcess, settings_of: MakeSettings
) -> None:
    """A server that does not know the scripts, as after SCRIPT FLUSH, gets them with the call."""
    async with open_redis(settings_of(own_server)) as cache:
        for number in range(2):
            ask(own_server.port, "SCRIPT", "FLUSH")
            await fill(cache, {f"{number}": VALUE})
            ask(own_server.port, "SCRIPT", "FLUSH")
            await cache.refresh([Refresh(f"{number}", VALUE.version, VALUE, LONG_MS)])
            assert await count(cache, [f"{number}"]) == 1


async def test_answers_never_go_astray_when_commands_are_cancelled(cache: RedisCache) -> None:
    """After any number of cancelled commands each answer is still that of its own question."""
    entries = {f"astray/{n}": Entry(version(n + 1), b"%d" % n) for n in range(200)}
    await fill(cache, entries)

    async def impatient(key: str, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                assert list(await cache.read([key])) == [entries[key]]
        except TimeoutError:
            pass

    for round_ in range(20):
        await asyncio.gather(*(impatient(key, 0.0001 * (n % 40)) for n, key in enumerate(entries)))
        assert list(await cache.read(list(entries))) == list(entries.values()), round_


async def test_calls_wait_for_one_of_few_connections(server: ServerProcess, settings_of: MakeSettings) -> None:
    """However many calls are made at once, there are no more connections than allowed, and all calls are answered."""
    async with open_redis(settings_of(server, max_connections=2, namespace="few")) as cache:
        await fill(cache, {"key": VALUE})
        answers = await asyncio.gather(*(cache.read(["key"]) for _ in range(300)))
        assert [list(answer) for answer in answers] == [[VALUE]] * 300
        assert len(cache._watch.master()._pool._opened) == 2
        assert cache.pool() == PoolStats(open=2, in_use=0, limit=2, retries=0)


async def test_tells_how_often_the_master_was_looked_for_again() -> None:
    """While there is no server there are no connections, and each further try counts."""
    async with open_redis(RedisSettings(url=f"redis://127.0.0.1:{free_port()}")) as cache:

        async def tried() -> bool:
            return cache.pool().retries > 1

        await eventually(tried, what="some tries")
        assert (cache.pool().open, cache.pool().in_use) == (0, 0)


async def test_idle_connections_that_the_server_has_ended_are_not_used(
    own_server: ServerProcess, settings_of: MakeSettings
) -> None:
    """A connection that was ended while nobody used it costs the next call nothing."""
    async with open_redis(settings_of(own_server)) as cache:
        await fill(cache, {"key": VALUE})
        connections = cache._watch.master()._pool._free
        ask(own_server.port, "CLIENT", "KILL", "TYPE", "normal")

        async def ended() -> bool:
            return all([await connection.can_read() for connection in connections])

        await eventually(ended, what="the end of the connections")
        assert list(await cache.read(["key"])) == [VALUE]


async def test_a_lost_connection_leaves_the_outcome_unknown(
    own_server: ServerProcess, settings_of: MakeSettings
) -> None:
    """A command that was sent and not answered may have been done."""
    async with open_redis(settings_of(own_server)) as cache:
        await fill(cache, {"key": VALUE})
        own_server.pause()
        call = asyncio.create_task(cache.refresh([Refresh("key", version(9), None, LONG_MS)]))
        await asyncio.sleep(0)
        own_server.kill()
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.outcome == "unknown"


async def test_ping_names_the_server(cache: RedisCache, server: ServerProcess) -> None:
    """A ping says which version serves, and where."""
    answer = await cache.ping()
    assert answer.startswith("Redis ")
    assert answer.endswith(f", master {server.address}")


# --- what is kept, and what is not ---


async def test_clear_leaves_what_is_not_of_the_cache(server: ServerProcess, settings_of: MakeSettings) -> None:
    """Other namespaces, and whatever else is in the database, stay."""
    ask(server.port, "SET", "not-of-the-cache", "1")
    async with (
        open_redis(settings_of(server, namespace="cleared")) as cleared,
        open_redis(settings_of(server, namespace="kept")) as kept,
    ):
        await fill(cleared, {f"{n}": VALUE for n in range(1000)})
        await fill(kept, {"key": VALUE})
        await cleared.clear()
        assert await count(cleared, [f"{n}" for n in range(1000)]) == 0
        assert await count(kept, ["key"]) == 1
    assert ask(server.port, "GET", "not-of-the-cache") == "1"


async def test_max_keys_is_kept_and_spares_pending_entries(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """Beyond the most keys those go that would end first; entries with a long lifetime stay."""
    async with open_redis(settings_of(start_redis(), max_keys=200)) as cache:
        pending = {f"pending/{n}": VALUE for n in range(20)}
        await fill(cache, pending, lifetime_ms=86_400_000)
        for start in range(0, 2000, 100):
            await fill(cache, {f"{n}": VALUE for n in range(start, start + 100)})
        stats = await cache.stats()
        assert stats.keys_count <= 200
        assert stats.evictions >= 1800
        assert await count(cache, list(pending)) == 20


async def test_max_memory_is_kept_and_spares_pending_entries(
    start_redis: StartRedis, settings_of: MakeSettings
) -> None:
    """Beyond the most memory those go that would end first; the server's own limits need not be set."""
    limit = 8_000_000
    async with open_redis(settings_of(start_redis(), max_memory_bytes=limit)) as cache:
        pending = {f"pending/{n}": VALUE for n in range(20)}
        await fill(cache, pending, lifetime_ms=86_400_000)
        large = Entry(version(1), b"v" * 20_000)
        for start in range(0, 2000, 20):
            await fill(cache, {f"{n}": large for n in range(start, start + 20)})
        stats = await cache.stats()
        assert stats.memory_used_bytes < 1.2 * limit
        assert stats.max_memory_bytes == limit
        assert stats.evictions > 1000
        assert await count(cache, list(pending)) == 20


async def test_room_is_made_before_the_server_refuses_writes(
    start_redis: StartRedis, settings_of: MakeSettings
) -> None:
    """A server whose own limit is lower, and that evicts nothing, goes on taking entries."""
    server = start_redis("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    async with open_redis(settings_of(server)) as cache:
        large = Entry(version(1), b"v" * 20_000)
        for number in range(400):
            await fill(cache, {f"{number}": large})
        assert (await cache.stats()).evictions > 100
        assert await count(cache, [f"{number}" for number in range(400)]) > 20


async def test_what_is_not_of_the_cache_is_never_evicted(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """A database that is full of other things stays as it is, though the limit is exceeded."""
    server = start_redis()
    for number in range(100):
        ask(server.port, "SET", f"other/{number}", "1", "PX", "600000")
    async with open_redis(settings_of(server, max_keys=10)) as cache:
        await fill(cache, {f"{n}": VALUE for n in range(50)})
        others = ask(server.port, "KEYS", "other/*")
    assert isinstance(others, list)
    assert len(others) == 100


async def test_slots_of_a_former_era_go_first(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """What nobody reads any more makes room before anything else, however long it would live."""
    server = start_redis()
    for number in range(100):
        ask(server.port, "SET", f"kvcore:0123456789abcdef0123:{number}", "1", "PX", "86400000")
    async with open_redis(settings_of(server, max_keys=110)) as cache:
        await fill(cache, {f"{n}": VALUE for n in range(60)})
        assert await count(cache, [f"{n}" for n in range(60)]) > 50


async def test_a_full_server_keeps_no_older_entry(start_redis: StartRedis, settings_of: MakeSettings) -> None:
    """Where the server refuses the memory for a newer entry, the older one goes all the same."""
    server = start_redis("--maxmemory-policy", "noeviction")
    async with open_redis(settings_of(server)) as cache:
        await fill(cache, {"installed": VALUE, "refreshed": VALUE})
        ask(server.port, "CONFIG", "SET", "maxmemory", "1")
        newer = Entry(version(2), b"newer")
        await cache.install([Install("installed", newer, "", LONG_MS)])
        await cache.refresh([Refresh("refreshed", newer.version, newer, LONG_MS)])
        assert await count(cache, ["installed", "refreshed"]) == 0
        with pytest.raises(UnavailableError, match="maxmemory-policy"):
            await cache.reserve([Reserve("installed", "token", False, LONG_MS)])


async def test_an_entry_begins_with_its_version_where_the_scripts_look_for_it(
    cache: RedisCache, server: ServerProcess
) -> None:
    """The scripts read the version from the bytes 2 to 25 of an entry."""
    await fill(cache, {"layout": Entry(version(0xABC), None, "text/plain", 12345)})
    found = ask(server.port, "GETRANGE", f"{cache._watch.master().prefix}layout", "2", "25")
    assert found == version(0xABC)


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "set cache.redis.sentinels"),
        ({"url": "redis://a", "sentinels": ("b:1",)}, "both set"),
        ({"url": "http://a"}, "not of the form"),
        ({"url": "redis://"}, "not of the form"),
        ({"url": "redis://a:0"}, "not of the form"),
        ({"url": "redis://a:99999"}, "between 1 and 65535"),
        ({"url": "redis://a/x"}, "not of the form"),
        ({"url": "redis://a?db=1"}, "not of the form"),
        ({"url": "redis://a/1", "database": 2}, "say it once"),
        ({"url": "redis://[a"}, "no URL"),
        ({"sentinels": ("a/b",)}, "host:port"),
        ({"sentinels": ("redis://a:1",)}, "host:port"),
        ({"sentinels": ("",)}, "host:port"),
        ({"url": "rediss://a", "tls_cert_file": "a"}, "go together"),
        ({"url": "rediss://a", "tls_ca_file": "/nowhere"}, "cannot be used"),
    ],
)
async def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    """Opening says what is wrong before anything is connected to."""
    with pytest.raises(SettingsError, match=words):
        async with open_redis(RedisSettings(**settings)):
            pass


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "redis://user:sesame@a"},
        {"url": "redis://a?password=sesame"},
        {"url": "redis:sesame@a"},
        {"url": "redis://a:sesame"},
        {"sentinels": ("user:sesame@a:26379",)},
    ],
)
async def test_a_password_in_an_address_is_refused_and_not_repeated(settings: dict[str, Any]) -> None:
    """Addresses are shown in listings and logs: a password has its own setting, and the refusal does not show it."""
    with pytest.raises(SettingsError) as caught:
        async with open_redis(RedisSettings(**settings)):
            pass
    assert "sesame" not in str(caught.value)


async def test_the_url_names_the_database(server: ServerProcess) -> None:
    """The path of a URL is the number of a database."""
    async with open_redis(RedisSettings(url=f"redis://{server.address}/7")) as cache:
        await fill(cache, {"key": VALUE})
        assert "db7:keys=" in str(ask(server.port, "INFO", "keyspace"))
