"""Ports for servers that are ended and started again."""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ("HOST", "free_port", "is_free")

HOST = "127.0.0.1"

_LOWEST = 10_000
_TRIES = 1_000
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, and that this process has not been given before.

    It lies below the ports that the system hands out to outgoing connections. Among those, the port of a server that was
    just killed could become the near end of some client's connection: the server could not come back, and a client that
    tries to reach it could even be connected with itself.

    Raises:
        OSError: none was found.
    """
    end = _first_outgoing_port()
    for _ in range(_TRIES):
        port = random.randrange(_LOWEST, end)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"found no free port of {HOST} from {_LOWEST} to {end - 1}")


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except FileNotFoundError:
        return 32_768


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
