"""TLS, with a certificate made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvcore.backends import Finding
from kvcore.errors import UnavailableError
from kvcore.testing.servers import ServerProcess
from kvcore_cache_redis import RedisSettings, diagnose, open_redis

StartRedis = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, which signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    signed, key = folder / "server.crt", folder / "server.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=kvcore test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", signed, "-keyout", key], check=True, capture_output=True)
    return signed, key


@pytest.fixture(scope="module")
def tls_server(start_redis: StartRedis, certificate: tuple[Path, Path]) -> ServerProcess:
    """Return a server that speaks nothing but TLS, and wants to see a certificate."""
    signed, key = map(str, certificate)
    return start_redis("--tls-cert-file", signed, "--tls-key-file", key, "--tls-ca-cert-file", signed, tls=True)


def settings_for(server: ServerProcess, certificate: tuple[Path, Path], **more: Any) -> RedisSettings:
    """Return settings that work, but for what is given."""
    signed, key = map(str, certificate)
    given = {"tls_ca_file": signed, "tls_cert_file": signed, "tls_key_file": key}
    return RedisSettings(**({"url": f"rediss://{server.address}"} | given | more))


async def finding(settings: RedisSettings) -> Finding:
    """Return the one finding."""
    (found,) = (await diagnose(settings)).findings
    return found


async def test_speaks_tls_and_shows_a_certificate(tls_server: ServerProcess, certificate: tuple[Path, Path]) -> None:
    """With `rediss://`, or with `tls` alone, the cache works over TLS in both directions of trust."""
    for url in (f"rediss://{tls_server.address}", f"redis://{tls_server.address}"):
        async with open_redis(settings_for(tls_server, certificate, url=url, tls=True)) as cache:
            assert await cache.ping()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tls_ca_file": None}, "certificate is not trusted"),
        ({"tls_cert_file": None, "tls_key_file": None}, "TLS"),
    ],
)
async def test_refuses_what_is_not_trusted(
    tls_server: ServerProcess, certificate: tuple[Path, Path], more: dict[str, Any], words: str
) -> None:
    """A server whose certificate is not trusted is not spoken to, nor one that does not trust ours; the doctor says it."""
    settings = settings_for(tls_server, certificate, **more)
    async with open_redis(settings) as cache:
        with pytest.raises(UnavailableError):
            await cache.ping()
    found = await finding(settings)
    assert found.level == "error"
    assert words in f"{found.what} {found.remedy}"


async def test_the_doctor_says_when_only_one_side_speaks_tls(
    tls_server: ServerProcess, server: ServerProcess, certificate: tuple[Path, Path]
) -> None:
    """TLS wanted but not spoken, and spoken but not wanted, are each told, with the setting that mends it."""
    wanted = await finding(settings_for(server, certificate))
    assert "cache.redis.tls" in wanted.remedy
    spoken = await finding(RedisSettings(url=f"redis://{tls_server.address}"))
    assert "cache.redis.tls" in spoken.remedy
