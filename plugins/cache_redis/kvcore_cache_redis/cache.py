"""The cache: what is asked of it, as commands of Redis.

A slot is one key. A lease is "L" and its token. An entry is its msgpack, an array that begins with the version, so that a
script finds it in the bytes 2 to 25. Lifetimes are those of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Final, TypeVar, cast

import msgspec
from redis import exceptions

from kvcore.backends import Ability, CacheStats, Install, PoolStats, Refresh, Reserve
from kvcore.errors import UnavailableError
from kvcore.model import Entry, Version
from kvcore.slots import Reservation
from kvcore_cache_redis.addresses import addresses_of_sentinels, check, target_of_url
from kvcore_cache_redis.connecting import Argument, Connector, pack
from kvcore_cache_redis.lua import INSTALL, REFRESH, RESERVE, Script
from kvcore_cache_redis.master import Master, fields
from kvcore_cache_redis.seeking import FixedAddress, Seeker, Sentinels
from kvcore_cache_redis.settings import RedisSettings
from kvcore_cache_redis.translating import translating
from kvcore_cache_redis.watch import Watch

__all__ = ("RedisCache", "open_redis")

# What one command carries at most: Redis does nothing else while it runs one.
_MOST_SLOTS: Final = 256
_MOST_BYTES: Final = 1 << 20

_LEASE: Final = ord("L")
_GRANTED: Final = Reservation(granted=True)
_TAKEN: Final = Reservation(granted=False)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode

T = TypeVar("T")


class RedisCache:
    """A cache in Redis: see `kvcore.backends.Cache`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.SHARED, Ability.POOL})

    def __init__(self, watch: Watch, settings: RedisSettings) -> None:
        self._watch = watch
        self._settings = settings

    async def read(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        entries: list[Entry | None] = []
        for some in _parts(keys, len):
            master = self._watch.master()
            prefix = master.prefix
            slots = await _ask(master, "MGET", *[prefix + key for key in some])
            entries += [None if slot is None or slot[0] == _LEASE else _entry(slot) for slot in slots]
        return entries

    async def reserve(self, asked: Sequence[Reserve]) -> Sequence[Reservation]:
        reservations: list[Reservation] = []
        limits = (self._settings.max_keys, self._settings.max_memory_bytes, f"{self._settings.namespace}:")
        for some in _parts(asked, lambda ask: len(ask.key)):
            master = self._watch.master()
            arguments: list[Argument] = [*limits, master.prefix, master.record]
            for ask in some:
                arguments += (ask.token, "reader" if ask.reader else "writer", ask.lifetime_ms)
            answers = await _run(master, RESERVE, [ask.key for ask in some], arguments)
            reservations += [_reservation(answer) for answer in answers]
        return reservations

    async def install(self, installs: Sequence[Install]) -> None:
        for some in _parts(installs, lambda fill: _size_bytes(fill.key, fill.entry)):
            arguments: list[Argument] = []
            for fill in some:
                arguments += (_encode(fill.entry), fill.token, fill.lifetime_ms)
            await _run(self._watch.master(), INSTALL, [fill.key for fill in some], arguments)

    async def refresh(self, refreshes: Sequence[Refresh]) -> None:
        for some in _parts(refreshes, lambda fresh: _size_bytes(fresh.key, fresh.entry)):
            arguments: list[Argument] = []
            for fresh in some:
                entry = b"" if fresh.entry is None else _encode(fresh.entry)
                arguments += (fresh.version, entry, fresh.token, fresh.lifetime_ms)
            await _run(self._watch.master(), REFRESH, [fresh.key for fresh in some], arguments)

    async def clear(self) -> None:
        """Forget every slot that is there when it begins; those of former eras too."""
        master = self._watch.master()
        cursor = b"0"
        while True:
            cursor, keys = await _ask(
                master, "SCAN", cursor, "MATCH", f"{self._settings.namespace}:*", "COUNT", _MOST_SLOTS
            )
            if keys:
                await _ask(master, "UNLINK", *keys)
            if cursor == b"0":
                return

    async def stats(self) -> CacheStats:
        """Return the numbers of the whole server; evictions are those by this plugin, of this era, and the server's own."""
        master = self._watch.master()
        info = fields(await _ask(master, "INFO"))
        keys_count = await _ask(master, "DBSIZE")
        evicted = await _ask(master, "HGET", master.record, "evictions")
        limits = (self._settings.max_memory_bytes, int(info.get("maxmemory", 0)))
        return CacheStats(
            keys_count=keys_count,
            max_keys=self._settings.max_keys,
            memory_used_bytes=int(info["used_memory"]),
            max_memory_bytes=min(limit for limit in limits if limit),
            hits=int(info["keyspace_hits"]),
            misses=int(info["keyspace_misses"]),
            evictions=int(evicted or 0) + int(info["evicted_keys"]),
        )

    async def ping(self) -> str:
        master = await self._watch.found()
        await _ask(master, "PING")
        return f"Redis {master.version}, master {master.address}"

    def pool(self) -> PoolStats:
        opened, used = self._watch.connections
        return PoolStats(open=opened, in_use=used, limit=self._settings.max_connections, retries=self._watch.retries)


async def _ask(master: Master, *command: Argument) -> Any:
    with translating(master.address, "unknown"):
        return await master.ask(pack(*command))


async def _run(master: Master, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    prefix = master.prefix
    slots = [prefix + key for key in keys]
    with translating(master.address, "unknown"):
        try:
            return await master.ask(pack("EVALSHA", script.digest, len(slots), *slots, *arguments))
        except exceptions.NoScriptError:
            # It was not run, and will be known from now on.
            return await master.ask(pack("EVAL", script.text, len(slots), *slots, *arguments))


def _entry(slot: bytes) -> Entry | None:
    """Return the entry in a slot; what cannot be read, as another version of kvcore may have written it, is a miss."""
    try:
        return _decode(slot)
    except msgspec.MsgspecError:
        return None


def _parts(items: Sequence[T], size_bytes: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut what is asked into parts that each go into one command; most often there is one."""
    start = weight = 0
    for position, item in enumerate(items):
        size = size_bytes(item)
        if position > start and (position - start == _MOST_SLOTS or weight + size > _MOST_BYTES):
            yield items[start:position]
            start, weight = position, 0
        weight += size
    if items:
        yield items[start:] if start else items


def _size_bytes(key: str, entry: Entry | None) -> int:
    return len(key) + (0 if entry is None or entry.value is None else len(entry.value))


def _reservation(answer: int | bytes) -> Reservation:
    if answer == 1:
        return _GRANTED
    return _TAKEN if answer == 0 else Reservation(False, Version(cast("bytes", answer).decode()))


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[RedisCache]:
    """Yield the cache, when the master has been found or has been looked for once.

    Raises:
        SettingsError: the settings cannot work.
    """
    check(settings)
    connector = Connector(settings)
    watch = Watch(_seeker(settings), connector, settings)
    watching = asyncio.create_task(watch.run())
    try:
        with suppress(UnavailableError):  # opening does not need the server, calls say why
            await watch.found()
        yield RedisCache(watch, settings)
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def _seeker(settings: RedisSettings) -> Seeker:
    if settings.url is not None:
        return FixedAddress(target_of_url(settings.url).address)
    connector = Connector(settings, to_sentinels=True)
    return Sentinels(addresses_of_sentinels(settings.sentinels), settings.master_name, connector)
