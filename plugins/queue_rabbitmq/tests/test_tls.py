"""TLS, on a node of its own that speaks nothing else, with an authority made for the tests."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvcore.backends import Finding
from kvcore.errors import SettingsError, UnavailableError
from kvcore.secret import Secret
from kvcore.testing.fixtures import required
from kvcore.testing.servers import RabbitCluster
from kvcore.testing.servers.ports import free_port
from kvcore.testing.waiting import eventually
from kvcore_queue_rabbitmq import FACTORY, RabbitSettings
from kvcore_queue_rabbitmq.diagnosis import diagnose
from kvcore_queue_rabbitmq.queue import open_rabbitmq

ENDED = "it ends the connection in the TLS handshake, or right behind it"

_CONF = """\
default_user = {username}
default_pass = {password}
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.crt
ssl_options.certfile = {folder}/server.crt
ssl_options.keyfile = {folder}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 10MB
log.console = true
log.console.level = warning
log.file = false
"""


class TlsNode(RabbitCluster):
    """One node, which lets in who shows a certificate of the authority in `certificates`."""

    def __init__(self, certificates: Path) -> None:
        super().__init__()
        self.names, self.nodes = self.names[:1], self.nodes[:1]
        self.processes = (self._epmd, *self.nodes)
        self.tls_host = f"127.0.0.1:{(port := free_port())}"
        self._config.write_text(
            _CONF.format(username=self.username, password=self.password, port=port, folder=certificates)
        )


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in that folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    """Make `<name>.crt`, which signs itself and others, and its key."""
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # without which Python 3.13 trusts no authority
    openssl(folder, *new, *usage, "-subj", f"/CN=kvcore test {name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")


def make_certificate(folder: Path, name: str, *, of: str) -> None:
    """Make `<name>.crt` for 127.0.0.1, signed by the authority `of`, and its key."""
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-subj", f"/CN={name}")
    openssl(folder, *new, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    sign = ("x509", "-req", "-in", f"{name}.csr", "-copy_extensions", "copyall", "-days", "2")
    openssl(folder, *sign, "-CA", f"{of}.crt", "-CAkey", f"{of}.key", "-CAcreateserial", "-out", f"{name}.crt")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two authorities, `ca` and `other`, and what they have signed."""
    folder = tmp_path_factory.mktemp("tls")
    for authority in ("ca", "other"):
        make_authority(folder, authority)
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        make_certificate(folder, name, of=authority)
    return folder


@pytest.fixture(scope="module")
def node(certificates: Path) -> Iterator[TlsNode]:
    """Yield the node."""
    node = required(lambda: TlsNode(certificates))
    with node:
        yield node


@pytest.fixture
def settings(node: TlsNode, certificates: Path) -> RabbitSettings:
    """Return settings that work."""
    return RabbitSettings(
        hosts=(node.tls_host,),
        username=node.username,
        password=Secret(node.password),
        replicas=1,
        tls=True,
        ca_file=str(certificates / "ca.crt"),
        cert_file=str(certificates / "client.crt"),
        key_file=str(certificates / "client.key"),
    )


async def finding(settings: RabbitSettings, about: str) -> Finding:
    """Return the one thing that is said about this."""
    (found,) = [finding for finding in (await diagnose(settings)).findings if finding.about == about]
    return found


async def test_works_over_tls_with_trust_in_both_directions(settings: RabbitSettings) -> None:
    """With the authority to trust and a certificate to show, the queue answers, and the doctor is content."""
    async with open_rabbitmq(settings) as queue:

        async def answers() -> bool:
            try:
                return bool(await queue.ping())
            except UnavailableError:
                return False  # not connected yet: opening does not wait for that

        await eventually(answers, within_s=30, what="the connection")
    assert (await finding(settings, f"host {settings.hosts[0]}")).level == "ok"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ca_file": "other.crt"}, id="a server of an authority that is not trusted"),
        pytest.param({"ca_file": ""}, id="a server that only a private authority vouches for"),
        pytest.param({"hosts": "localhost"}, id="a server whose certificate has another name"),
        pytest.param({"cert_file": "", "key_file": ""}, id="a server that asks for a certificate in vain"),
        pytest.param({"cert_file": "stranger.crt", "key_file": "stranger.key"}, id="a server that does not trust ours"),
    ],
)
async def test_does_not_speak_to(settings: RabbitSettings, certificates: Path, changes: dict[str, str]) -> None:
    """Without trust in both directions nothing is published, and the doctor says that it is for TLS."""
    changed: dict[str, Any] = {name: value and str(certificates / value) for name, value in changes.items()}
    if "hosts" in changes:
        changed["hosts"] = (settings.hosts[0].replace("127.0.0.1", changes["hosts"]),)
    wrong = msgspec.structs.replace(settings, **changed)
    async with open_rabbitmq(wrong) as queue:
        with pytest.raises(UnavailableError):
            await queue.ping()
    found = await finding(wrong, f"host {wrong.hosts[0]}")
    # A server that judges our certificate may have gone before its judgement is read.
    assert found.what == "TLS fails" or ("cert_file" in changes and found.what == ENDED), found


async def test_no_server_is_no_failure_of_tls(settings: RabbitSettings) -> None:
    """With `tls`, too, one that is down is one that cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    found = await finding(msgspec.structs.replace(settings, hosts=(host,)), f"host {host}")
    assert found.what == "it cannot be reached"


async def test_a_judgement_that_is_lost_in_a_reset_is_still_one_on_tls(certificates: Path) -> None:
    """A server that ends the connection right behind the handshake, before we have read why, was reached."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with await asyncio.start_server(reset, "127.0.0.1", 0, ssl=tls) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = RabbitSettings(hosts=(host,), tls=True, ca_file=str(certificates / "ca.crt"))
        assert (await finding(settings, f"host {host}")).what == ENDED


async def test_plain_tcp_to_the_port_for_tls_is_told(settings: RabbitSettings) -> None:
    """Without `tls`, the port for TLS is not taken for one that works."""
    found = await finding(msgspec.structs.replace(settings, tls=False), f"host {settings.hosts[0]}")
    assert found.level == "error"


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"key_file": "stranger.key"}, "stranger.key"), ({"cert_file": ""}, "client.key")],
    ids=["the key of another certificate", "a key without a certificate"],
)
async def test_the_certificate_to_show_must_be_whole(
    settings: RabbitSettings, certificates: Path, changes: dict[str, str], name: str
) -> None:
    """A certificate and a key that do not belong together are a fault of the settings, which the doctor names too."""
    changed = {field: value and str(certificates / value) for field, value in changes.items()}
    wrong = msgspec.structs.replace(settings, **changed)
    with pytest.raises(SettingsError, match=rf"queue\.rabbitmq\.cert_file: .*{name}"):
        async with FACTORY.open(wrong):
            pass
    assert (await finding(wrong, "queue.rabbitmq.cert_file")).what == "it cannot be used"
