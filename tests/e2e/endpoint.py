"""Where the tests of the API send their requests."""

from __future__ import annotations

from typing import Protocol

from kvcore.testing.servers import NginxProxy

__all__ = ("Endpoint", "is_nginx")


class Endpoint(Protocol):
    """A node, or NGINX before three of them: `url` such as http://127.0.0.1:8000, and the port in it."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int: ...


def is_nginx(endpoint: Endpoint) -> bool:
    """Tell whether NGINX answers, which refuses by itself what it cannot read."""
    return isinstance(endpoint, NginxProxy)
