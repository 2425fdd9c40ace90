"""What NGINX is to do before the nodes of one kvcore."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

import msgspec

from kvcore.errors import SettingsError
from kvcore.settings import LimitSettings

__all__ = ("Proxy",)

# What stands in a configuration must not be able to add to it.
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")
_NAME: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_.-]+")
_FILE: Final = re.compile(r"[A-Za-z0-9_./@+-]+")


class Proxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One NGINX before the nodes of one kvcore. Relative paths are NGINX's own: below the folder that it is started for.

    Attributes:
        nodes: Where they listen: `10.0.0.1:8000`, `[fd00::1]:8000`, `node-1:8000`. Names are looked up when NGINX starts.
        resolver: A name server that names of nodes are looked up at again while NGINX runs, which needs 1.27.3 or newer; a
            name may have several addresses. None: for good, when NGINX starts.
        listen: Where NGINX listens: a port, or an address and a port. Empty: 443 with a certificate, else 80.
        server_names: The names that it answers to. Empty: whatever no other server of this NGINX has.
        certificate: File with the certificate and those between it and the root, in PEM. With `key`, or neither: plain HTTP.
        key: File with the private key, in PEM.
        redirect_from: Where it listens for plain HTTP, only to redirect to HTTPS on port 443.
        internal: Networks that see /admin and /metrics.
        trusted_proxies: Networks of load balancers in front, whose `X-Forwarded-For` is believed.
        rate_per_s: Requests per second that each address may send, an IPv6 network of 64 bits being one. None: any number.
        burst: How many it may send at once after a pause. None: what a second allows.
        connections: Connections that each address may have a request on, with HTTP/2 requests. None: any number.
        access_log: File for a line of JSON for each request.
        maintenance_file: As long as it is there, everything is answered with 503.
        limits: Those of the nodes.

    Raises:
        SettingsError: one of them is not what it should be.
    """

    nodes: tuple[str, ...]
    resolver: str | None = None
    listen: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None
    redirect_from: tuple[str, ...] = ()
    internal: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    trusted_proxies: tuple[str, ...] = ()
    rate_per_s: int | None = None
    burst: int | None = None
    connections: int | None = None
    access_log: str = "/var/log/nginx/kvcore.log"
    maintenance_file: str = "/etc/nginx/kvcore.maintenance"
    limits: LimitSettings = LimitSettings()

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)
        if self.resolver is not None and not _HOST.fullmatch(self.resolver):
            raise SettingsError(f"{self.resolver!r} is no name server: say its address, such as 10.0.0.2 or [fd00::2]")
        for place in (*self.listen, *self.redirect_from):
            _check_listen(place)
        for name in self.server_names:
            if not _NAME.fullmatch(name):
                raise SettingsError(f"{name!r} is no name of a server")
        for network in (*self.internal, *self.trusted_proxies):
            _check_network(network)
        for file in (self.certificate, self.key, self.access_log, self.maintenance_file):
            if file is not None and not _FILE.fullmatch(file):
                raise SettingsError(f"the path {file!r} has characters other than A-Z a-z 0-9 _ . / @ + -")
        for number in (self.rate_per_s, self.burst, self.connections):
            if number is not None and number < 1:
                raise SettingsError(f"{number} is less than 1")
        self._check_together()

    def _check_together(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("a certificate needs its key, and a key its certificate")
        if self.redirect_from and self.certificate is None:
            raise SettingsError("there is no HTTPS to redirect to: give a certificate and its key")
        if self.burst is not None and self.rate_per_s is None:
            raise SettingsError("a burst needs a rate")


def _check_nodes(nodes: Sequence[str]) -> None:
    if not nodes:
        raise SettingsError("there is no node to pass requests on to")
    if len(set(nodes)) != len(nodes):
        raise SettingsError("a node is named twice")
    for node in nodes:
        host, colon, port = node.rpartition(":")
        if not (colon and _HOST.fullmatch(host) and _is_port(port)):
            raise SettingsError(f"{node!r} is no HOST:PORT, such as 10.0.0.1:8000, [fd00::1]:8000 or node-1:8000")


def _check_listen(place: str) -> None:
    host, colon, port = place.rpartition(":")
    if not (_is_port(port) and (not colon or _HOST.fullmatch(host))):
        raise SettingsError(f"{place!r} is nowhere to listen: say a port, or an address and a port, such as [::]:443")


def _check_network(network: str) -> None:
    try:
        ip_network(network)
    except ValueError as error:
        raise SettingsError(f"{network!r} is no address and no network: {error}") from None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65_536
