"""Which address a request comes from, and which addresses count as one caller."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from litestar.types import HTTPScope

__all__ = ("Addresses",)

Address = IPv4Address | IPv6Address

_IPV6_PREFIX: Final = 64
"""Bits of what a provider gives to one customer at least: whoever has one address has all of these."""
_MOST_HOPS: Final = 16


class Addresses:
    """Finds the caller behind trusted proxies.

    Each proxy adds the address that it was asked from to the end of `X-Forwarded-For`. So that is believed from its end on,
    and only if it comes from a trusted proxy, up to the first address that is not one: the rest is what the caller says.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = tuple(map(ip_network, trusted_proxies))
        self._look_up = lru_cache(4096)(self._looked_up)

    def caller(self, scope: HTTPScope) -> str:
        """Return the address or network that a request is counted for."""
        client = scope["client"]
        caller, is_trusted = self._look_up(client[0] if client else "")
        if is_trusted:
            for hop in self._hops(scope):
                address = _address(hop)
                if address is None:
                    break
                caller, is_trusted = self._look_up(str(address))
                if not is_trusted:
                    break
        return caller

    @staticmethod
    def _hops(scope: HTTPScope) -> Iterable[str]:
        """Return the addresses of `X-Forwarded-For`, the last one first."""
        said = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        return reversed([hop.decode("latin-1").strip() for hop in said.rsplit(b",", _MOST_HOPS)[-_MOST_HOPS:]])

    def _looked_up(self, text: str) -> tuple[str, bool]:
        """Return what an address is counted for, and whether it is that of a trusted proxy."""
        address = _address(text)
        if address is None:
            return text, False
        is_trusted = any(address in network for network in self._trusted)
        if address.version == 6:
            return str(ip_network((address, _IPV6_PREFIX), strict=False)), is_trusted
        return str(address), is_trusted


def _address(text: str) -> Address | None:
    """Return the address that a text names, some proxies add a port, or None. Its zone, a text of any length, is left out."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
