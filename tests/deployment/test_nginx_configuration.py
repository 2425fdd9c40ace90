"""The rendered configuration in all shapes, and the command that renders it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.nginx.__main__ import app
from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.errors import SettingsError
from kvcore.settings import LimitSettings
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.ports import HOST, free_port
from tests.deployment.proxied import nginx, proxy_on

ROOT = Path(__file__).parents[2]
MANY = tuple(f"10.0.{number // 250}.{number % 250 + 1}:8000" for number in range(300))


def checked(configuration: str) -> NginxProxy:
    """Have NGINX read a configuration, without starting."""
    proxy = nginx(configuration, port=free_port())
    try:
        proxy.check()
    finally:
        proxy.stop()
    return proxy


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"nodes": MANY},
        {"nodes": ("[::1]:8000", "[fd00::2]:8000")},
        {"listen": (f"{HOST}:18080", "[::1]:18080")},
        {"server_names": ("kv.example.com", "*.kv.example.com")},
        {"internal": ()},
        {"internal": ("10.0.0.0/8", "fd00::/8", "192.0.2.1")},
        {"trusted_proxies": ("10.0.0.0/8", "2001:db8::1")},
        {"rate_per_s": 100},
        {"rate_per_s": 100, "burst": 1000, "connections": 20},
        {"connections": 1},
        {"limits": LimitSettings(max_value_bytes=1 << 30, batch_bytes=1 << 31, read_deadline_s=0.001)},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_nginx_takes_it(settings: dict[str, Any], is_tls: bool, certificate: Path) -> None:
    """`nginx -t` takes what is rendered, whatever is asked for."""
    if is_tls:
        key = certificate.with_name("key.pem")
        settings = settings | {"certificate": str(certificate), "key": str(key), "redirect_from": (f"{HOST}:18081",)}
    nodes = settings.get("nodes", ("127.0.0.1:8000",))
    more = {name: value for name, value in settings.items() if name != "nodes"}
    checked(render(proxy_on(18080, *nodes, **more)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"nodes": ()}, "no node"),
        ({"nodes": ("a:1", "a:1")}, "twice"),
        ({"nodes": ("a",)}, "HOST:PORT"),
        ({"nodes": ("a:0",)}, "HOST:PORT"),
        ({"nodes": ("a:65536",)}, "HOST:PORT"),
        ({"nodes": ("::1:80",)}, "HOST:PORT"),
        ({"nodes": ("http://a:80",)}, "HOST:PORT"),
        ({"nodes": ("a:80; }",)}, "HOST:PORT"),
        ({"nodes": ("a b:80",)}, "HOST:PORT"),
        ({"nodes": ("a\n:80",)}, "HOST:PORT"),
        ({"resolver": "10.0.0.2; }"}, "name server"),
        ({"listen": ("somewhere",)}, "listen"),
        ({"listen": ("80 default_server",)}, "listen"),
        ({"redirect_from": ("80",)}, "HTTPS"),
        ({"certificate": "a.pem"}, "key"),
        ({"key": "a.pem"}, "certificate"),
        ({"certificate": "a.pem; x", "key": "k"}, "a.pem; x"),
        ({"server_names": ("a b",)}, "a b"),
        ({"server_names": ("",)}, "name"),
        ({"internal": ("10.0.0.1/8",)}, "10.0.0.1/8"),
        ({"internal": ("all",)}, "all"),
        ({"trusted_proxies": ("",)}, "address"),
        ({"access_log": "a$b"}, "a\\$b"),
        ({"maintenance_file": "a) {"}, "a\\) {"),
        ({"rate_per_s": 0}, "less than 1"),
        ({"connections": -1}, "less than 1"),
        ({"burst": 5}, "rate"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], told: str) -> None:
    """A wrong setting is named, and nothing of it gets into a configuration."""
    with pytest.raises(SettingsError, match=told):
        Proxy(**({"nodes": ("127.0.0.1:8000",)} | settings))


def test_idle_connections_end_before_nodes_do() -> None:
    """NGINX closes idle connections, and asks a dead node again, sooner than a node in production needs to end."""
    profile = tomllib.loads((ROOT / "kvcore" / "profiles" / "production.toml").read_text(encoding="utf-8"))
    rendered = render(Proxy(nodes=("127.0.0.1:8000",)))
    upstream = rendered[rendered.index("upstream kvcore") : rendered.index("geo ")]
    for directive in (r"keepalive_timeout +(\d+)s;", r"fail_timeout=(\d+)s;"):
        found = re.search(directive, upstream)
        assert found is not None
        assert int(found[1]) < profile["http"]["drain_s"]


def test_names_are_looked_up_again_where_a_name_server_is_given() -> None:
    """With a resolver each node is looked up again all the time; a write has as many tries as can be, as a name may be many nodes."""
    rendered = render(Proxy(nodes=("node:8000",), resolver="10.0.0.2"))
    assert "resolver 10.0.0.2 valid=2s;" in rendered
    assert re.findall(r"server (.*);", rendered)[0] == "node:8000 max_fails=1 fail_timeout=2s resolve"
    assert r"(?: : 0){0,6}" in rendered
    assert "resolve" not in re.sub(r"#.*", "", render(Proxy(nodes=("node:8000",))))


def test_the_command_prints_what_was_asked_for() -> None:
    """The command prints the same as `render`."""
    said = CliRunner().invoke(
        app,
        shlex.split(
            "--node 10.0.0.1:8000 --node [fd00::1]:8000 --listen 8443 --server-name kv.example.com --certificate /c.pem --key /k.pem"
            " --redirect-from 8080 --internal 10.0.0.0/8 --trusted-proxy 10.1.0.0/16 --rate 10 --burst 20 --connections 5"
            " --access-log /dev/stdout --maintenance-file /run/maintenance"
        ),
    )
    assert said.exit_code == 0, said.output
    assert said.output == render(
        Proxy(
            nodes=("10.0.0.1:8000", "[fd00::1]:8000"),
            listen=("8443",),
            server_names=("kv.example.com",),
            certificate="/c.pem",
            key="/k.pem",
            redirect_from=("8080",),
            internal=("10.0.0.0/8",),
            trusted_proxies=("10.1.0.0/16",),
            rate_per_s=10,
            burst=20,
            connections=5,
            access_log="/dev/stdout",
            maintenance_file="/run/maintenance",
        )
    )


def test_with_a_certificate_port_80_leads_to_443() -> None:
    """Unless told where to listen, a certificate means 443, and 80 for those who come without TLS."""
    said = CliRunner().invoke(app, ["--node", "a:8000", "--certificate", "/c.pem", "--key", "/k.pem"]).output
    assert re.findall(r"listen (.*);", said) == ["80", "443 ssl http2"]
    assert "return      308 https://$host$request_uri;" in said
    assert re.findall(r"listen (.*);", CliRunner().invoke(app, ["--node", "a:8000"]).output) == ["80"]


def test_the_command_takes_the_limits_of_the_nodes(tmp_path: Path) -> None:
    """With the nodes' kvcore.toml, what is too large is what is too large for them; the rendered file can be written to a file."""
    (tmp_path / "kvcore.toml").write_text('profile = "production"\n[limits]\nmax_value_bytes = 4000000\n')
    arguments = [
        "--node",
        "a:8000",
        "--limits",
        str(tmp_path / "kvcore.toml"),
        "--output",
        str(tmp_path / "kvcore.conf"),
    ]
    said = CliRunner().invoke(app, arguments)
    assert (said.exit_code, said.output) == (0, "")
    written = (tmp_path / "kvcore.conf").read_text(encoding="utf-8")
    assert written == render(Proxy(nodes=("a:8000",), limits=LimitSettings(max_value_bytes=4_000_000)))
    assert "client_max_body_size 4000000;" in written


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--node", "a"], "HOST:PORT"),
        (["--node", "a:8000", "--limits", "/nowhere/kvcore.toml"], "/nowhere/kvcore.toml"),
        (["--node", "a:8000", "--output", "/nowhere/kvcore.conf"], "/nowhere/kvcore.conf"),
        (["--node", "a:8000", "--redirect-from", "80"], "HTTPS"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], told: str) -> None:
    """What cannot be is one line, and exit code 1."""
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 1
    assert said.stdout == ""
    assert told in said.stderr
    assert said.stderr.count("\n") == 1
