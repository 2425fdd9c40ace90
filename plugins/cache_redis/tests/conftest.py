"""What the tests of this plugin share: the shared servers with Sentinel, and single ones of a test's own."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kvcore.secret import Secret
from kvcore.testing.fixtures import required
from kvcore.testing.servers import RedisServers, ServerProcess
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import free_port
from kvcore.testing.servers.reaper import Reaper
from kvcore_cache_redis import RedisCache, RedisSettings, open_redis

StartRedis = Callable[..., ServerProcess]
SettingsOf = Callable[..., RedisSettings]
SentinelSettings = Callable[..., RedisSettings]


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Return what starts a server of one's own, or a Sentinel, with arguments and lines of configuration; it ends with the session."""
    executable = required(lambda: find_executable("redis-server", package="redis-server"))
    with ExitStack() as ending:
        root = tmp_path_factory.mktemp("servers")
        ending.callback(Reaper(root).close)

        def start(*arguments: str, tls: bool = False, sentinel: bool = False, more: str = "") -> ServerProcess:
            folder, port = root / secrets.token_hex(4), free_port()
            folder.mkdir()
            config = folder / "redis.conf"
            ports = f"tls-port {port}\nport 0" if tls else f"port {port}"
            config.write_text(f"bind 127.0.0.1\n{ports}\ndir {folder}\n" + ("" if sentinel else 'save ""\n') + more)
            command = [executable, str(config), *arguments, *(["--sentinel"] if sentinel else [])]
            server = ServerProcess(
                "redis", command, folder=folder, port=port, is_ready=lambda: _listens(port), stop_within_s=5
            )
            ending.callback(server.stop)
            server.start()
            return server

        yield start


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
    return True


@pytest.fixture(scope="session")
def server(start_redis: StartRedis) -> ServerProcess:
    """Return a server that no test harms."""
    return start_redis()


@pytest.fixture
def own_server(start_redis: StartRedis) -> Iterator[ServerProcess]:
    """Yield a server of this test's own."""
    server = start_redis()
    yield server
    server.resume()
    server.stop()


@pytest.fixture
async def cache(server: ServerProcess, settings_of: SettingsOf) -> AsyncIterator[RedisCache]:
    """Yield a cache on the server that no test harms, with room for all tests."""
    async with open_redis(settings_of(server, max_keys=1_000_000)) as cache:
        yield cache


@pytest.fixture(scope="session")
def settings_of() -> SettingsOf:
    """Return what makes the settings for one server."""
    return lambda server, **more: RedisSettings(url=f"redis://{server.address}", **more)


@pytest.fixture
def sentinel_settings() -> SentinelSettings:
    """Return what makes the settings for the servers with Sentinel, in a namespace of this test's own."""
    namespace = secrets.token_hex(4)

    def make(servers: RedisServers, **more: Any) -> RedisSettings:
        given: dict[str, Any] = {
            "sentinels": tuple(sentinel.address for sentinel in servers.sentinels),
            "master_name": servers.master_name,
            "password": Secret(servers.password),
            "namespace": namespace,
        }
        return RedisSettings(**(given | more))

    return make


@pytest.fixture
def harmed_servers(redis_servers: RedisServers) -> Iterator[RedisServers]:
    """Yield the servers with Sentinel, and bring back afterwards what the test has done to them."""
    yield redis_servers
    redis_servers.restore()
