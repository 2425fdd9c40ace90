"""NGINX with a certificate: which TLS it speaks, HTTP/2, and the same rules as without."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcore.testing.fixtures import required
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import HOST, free_port
from tests.deployment.fake_node import FakeNode
from tests.deployment.plain_client import exchange, head
from tests.deployment.proxied import proxied


@pytest.fixture(scope="module")
def node() -> Iterator[FakeNode]:
    """Give a node that keeps what reaches it."""
    with FakeNode() as node:
        yield node


@pytest.fixture(scope="module")
def proxy(node: FakeNode, certificate: Path) -> Iterator[NginxProxy]:
    """Give an NGINX that speaks TLS, for which everybody is outside."""
    key = certificate.with_name("key.pem")
    with proxied(node.address, certificate=str(certificate), key=str(key), internal=()) as proxy:
        yield proxy


def curl(proxy: NginxProxy, certificate: Path, path: str, *more: str) -> tuple[str, str, str]:
    """Ask with curl; return the version of HTTP, the status and all that was answered."""
    executable = required(lambda: find_executable("curl", package="curl"))
    tell = ["--silent", "--include", "--path-as-is", "--write-out", "\n%{http_version} %{http_code}"]
    command = [executable, *tell, "--cacert", str(certificate), *more, f"https://{HOST}:{proxy.port}{path}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    answer, _, end = done.stdout.rpartition("\n")
    version, status = end.split()
    return version, status, answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_it_speaks_tls_1_2_and_1_3(
    proxy: NginxProxy, certificate: Path, version: ssl.TLSVersion, offered: list[str], chosen: str
) -> None:
    """Clients with TLS 1.2 or 1.3 get it with forward secrecy, and HTTP/2 where they offer that."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(offered)
    with (
        socket.create_connection((HOST, proxy.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0].startswith(("ECDHE-", "TLS_"))
        assert connection.selected_alpn_protocol() == chosen


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that they are old is what is tested
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [("TLSv1", "ALL"), ("TLSv1_1", "ALL"), ("TLSv1_2", "AES128-GCM-SHA256"), ("TLSv1_2", "ECDHE-ECDSA-AES128-SHA")],
    ids=["TLS 1.0", "TLS 1.1", "no forward secrecy", "CBC"],
)
def test_it_speaks_nothing_older(proxy: NginxProxy, version: str, ciphers: str) -> None:
    """Older versions, and ciphers that are not held to be safe any more, are refused by NGINX: it says so with an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with (
        socket.create_connection((HOST, proxy.port), timeout=20) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert (protocol version|handshake failure)"),
    ):
        context.wrap_socket(plain)


@pytest.mark.parametrize("way", ["--http2", "--http1.1"])
def test_requests_pass_unchanged(node: FakeNode, proxy: NginxProxy, certificate: Path, way: str) -> None:
    """Over HTTP/2 as over HTTP/1.1 a node gets path and body as they were sent, and the answer tells browsers to stay with TLS."""
    version, status, answer = curl(
        proxy, certificate, "/kv/a//b%2F..%2e?ttl=60", way, "--request", "PUT", "--data-binary", "x" * 100_000
    )
    assert (version, status) == ("2" if way == "--http2" else "1.1", "200")
    assert "strict-transport-security: max-age=63072000" in answer.lower()
    assert node.requests[-1].line == b"PUT /kv/a//b%2F..%2e?ttl=60 HTTP/1.1"
    assert len(node.requests[-1].body) == 100_000
    assert node.requests[-1].field("host") == HOST


@pytest.mark.parametrize(
    "path", ["/admin", "//admin", "/%61dmin", "/kv/../admin", "/kv/..%2fadmin", "/metrics", "/%6detrics", "/./metrics"]
)
def test_what_is_closed_is_closed_over_http_2(node: FakeNode, proxy: NginxProxy, certificate: Path, path: str) -> None:
    """HTTP/2 is no way around it, and NGINX's own answers have the field for browsers too."""
    before = len(node.requests)
    version, status, answer = curl(proxy, certificate, path, "--http2")
    assert (version, status) == ("2", "404")
    assert "strict-transport-security: max-age=63072000" in answer.lower()
    assert "/problems/no-such-resource" in answer
    assert len(node.requests) == before


def test_plain_http_is_told_so(proxy: NginxProxy) -> None:
    """Who speaks plain HTTP to the port with TLS gets a problem document."""
    with socket.create_connection((HOST, proxy.port), timeout=20) as plain:
        plain.sendall(b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/malformed-http" in answer


def test_plain_http_is_led_to_https(node: FakeNode, certificate: Path) -> None:
    """What comes to the port for redirects is told the same address with https, whatever the method, and reaches no node."""
    plain = free_port()
    before = len(node.requests)
    settings: dict[str, Any] = {"certificate": str(certificate), "key": str(certificate.with_name("key.pem"))}
    with proxied(node.address, redirect_from=(f"{HOST}:{plain}",), **settings):
        answer = exchange(plain, head(b"PUT /kv/a//b%2F?ttl=60 HTTP/1.1", b"Content-Length: 0"))
    assert (answer.status, answer.fields["location"]) == (308, "https://kv.example.com/kv/a//b%2F?ttl=60")
    assert len(node.requests) == before
