"""TLS, on a PostgreSQL server of its own, with authorities made for the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kvcore.backends import Finding
from kvcore.errors import UnavailableError
from kvcore.secret import Secret
from kvcore.testing.fixtures import required
from kvcore.testing.servers import PostgresServer
from kvcore_store_cockroach import CockroachSettings, migrate, open_cockroach
from kvcore_store_cockroach.diagnosis import diagnose

_NEW = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-subj", "/CN=kvcore test")


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in that folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the authorities `ca.crt` and `other.crt`."""
    folder = tmp_path_factory.mktemp("authorities")
    for name in ("ca", "other"):
        openssl(folder, *_NEW, "-x509", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    return folder


@pytest.fixture(scope="module")
def server(authorities: Path) -> Iterator[PostgresServer]:
    """Yield a server that shows a certificate for 127.0.0.1, signed by `ca`."""
    server = required(PostgresServer)
    with server:
        data = server.nodes[0].folder / "data"
        names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(data / "server.key"), "-out", "server.csr")
        openssl(authorities, *_NEW, *names)
        sign = ("x509", "-req", "-in", "server.csr", "-copy_extensions", "copyall", "-days", "2")
        openssl(authorities, *sign, "-CA", "ca.crt", "-CAkey", "ca.key", "-out", str(data / "server.crt"))
        for name in ("server.key", "server.crt"):
            shutil.copystat(data / "PG_VERSION", data / name)
            shutil.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        server.execute("ALTER SYSTEM SET ssl = on")
        server.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
async def settings(server: PostgresServer, authorities: Path) -> CockroachSettings:
    """Return settings that work, for a database with the schema."""
    settings = CockroachSettings(
        hosts=tuple(server.hosts),
        database=server.database,
        username=server.user,
        password=Secret(server.password),
        tls="verify-full",
        ca_file=str(authorities / "ca.crt"),
    )
    await migrate(settings)
    return settings


async def finding(settings: CockroachSettings) -> Finding:
    """Return the one finding."""
    (found,) = (await diagnose(settings)).findings
    return found


async def test_speaks_tls_to_whom_it_trusts(settings: CockroachSettings) -> None:
    """With the authority of the server's certificate and the name in it the store works, and the doctor is content."""
    async with open_cockroach(settings) as store:
        assert await store.ping()
    assert (await finding(settings)).level == "ok"


@pytest.mark.parametrize("wrong", ["the authority", "the name"])
async def test_does_not_speak_to_whom_it_does_not_trust(
    settings: CockroachSettings, authorities: Path, wrong: str
) -> None:
    """Another authority, or a name that is not in the certificate: nothing is sent, and the doctor says that it is for TLS."""
    changed = (
        msgspec.structs.replace(settings, ca_file=str(authorities / "other.crt"))
        if wrong == "the authority"
        else msgspec.structs.replace(settings, hosts=(settings.hosts[0].replace("127.0.0.1", "localhost"),))
    )
    async with open_cockroach(changed) as store:
        with pytest.raises(UnavailableError):
            await store.ping()
    assert (await finding(changed)).what == "the two sides do not agree on TLS"


async def test_a_file_of_authorities_that_was_replaced_is_used(
    settings: CockroachSettings, authorities: Path, tmp_path: Path
) -> None:
    """Certificates are read again with each new connection, so they can be replaced while the store is open."""
    trusted = tmp_path / "trusted.crt"
    shutil.copy(authorities / "other.crt", trusted)
    async with open_cockroach(msgspec.structs.replace(settings, ca_file=str(trusted))) as store:
        with pytest.raises(UnavailableError):
            await store.ping()
        shutil.copy(authorities / "ca.crt", trusted)
        assert await store.ping()
