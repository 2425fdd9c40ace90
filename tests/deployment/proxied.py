"""A real NGINX with the rendered configuration, before nodes of a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.testing.fixtures import required
from kvcore.testing.servers import NginxProxy
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import wait_until

__all__ = ("lines", "nginx", "proxied", "proxy_on")


def proxy_on(port: int, *nodes: str, **settings: Any) -> Proxy:
    """Return the settings of a proxy on that port, with paths in its own folder."""
    own = {"listen": (f"{HOST}:{port}",), "access_log": "access.log", "maintenance_file": "maintenance"}
    return Proxy(nodes=nodes, **(own | settings))


def nginx(configuration: str, *, port: int) -> NginxProxy:
    """Return an NGINX; where there is none, skip the test, or fail where CI is set."""
    return required(lambda: NginxProxy(configuration, port=port))


@contextmanager
def proxied(*nodes: str, port: int | None = None, **settings: Any) -> Iterator[NginxProxy]:
    """Run an NGINX before nodes, given by their addresses, on a free port if not told which; `settings` are those of `Proxy`."""
    port = port or free_port()
    with nginx(render(proxy_on(port, *nodes, **settings)), port=port) as proxy:
        yield proxy


def lines(proxy: NginxProxy, count: int) -> list[dict[str, Any]]:
    """Wait until the access log has so many lines, and return them, each of which must be a JSON object."""
    wait_until(
        lambda: len(proxy.access_log.read_bytes().splitlines()) >= count, within_s=20, what=f"{count} lines in the log"
    )
    return [json.loads(line) for line in proxy.access_log.read_bytes().splitlines()]
