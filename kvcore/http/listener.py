"""The listening socket: bound, and closed without a reset for those whom the kernel has let in already."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import sys
from typing import Final

from kvcore.errors import SettingsError

__all__ = ("bound", "drop_handshakes", "has_backlog")

_SO_ATTACH_FILTER: Final = 26  # include/uapi/asm-generic/socket.h; Python does not name it
_NO_NEW_HANDSHAKES: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header that holds the flags
        (0x54, 0, 0, 0x12),  # leave of them SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # then drop the segment
        (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
    )
)
"""A program for the classic BPF, in instructions of the form code, jump if true, jump if false, operand."""


def bound(table: str, host: str, port: int) -> socket.socket:
    """Bind without listening: while the process starts, connections are refused. `table`: where host and port are set.

    Raises:
        SettingsError: the address is not one of this machine, or the port is in use.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{table}.host: cannot listen at {host}: {error}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"{table}.host: this machine does not have the address {host}") from None
        hint = f"choose another one with --port or KVCORE_{table.upper()}__PORT"
        raise SettingsError(f"{table}.port: cannot listen at {host}:{port}: {error.strerror}; {hint}") from None
    return listener


def drop_handshakes(listener: socket.socket) -> bool:
    """Let no client begin a connection any more; tell whether the system can do that, which is so on Linux.

    The kernel makes connections by itself, and clients send on them before anybody accepts; closing the listening socket
    resets those that are not accepted yet, with the requests in them. So the queue has to be empty first, and stay so.
    A socket filter (SO_ATTACH_FILTER, socket(7)) drops the SYNs of new clients; handshakes under way go on, which they
    would not if everything was dropped. A client whose SYN was dropped sends it again after a second (RFC 6298, section
    2.1), and is refused if the socket is closed by then: nothing of its request has been sent. The filter holds for all
    processes that share the socket, and for the connections accepted from it, to which no SYN comes.
    """
    program = ctypes.create_string_buffer(_NO_NEW_HANDSHAKES, len(_NO_NEW_HANDSHAKES))
    if sys.platform != "linux":
        return False
    try:
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("@HP", len(_NO_NEW_HANDSHAKES) // 8, ctypes.addressof(program)),
        )
    except OSError:
        return False
    return True


def has_backlog(listener: socket.socket) -> bool:
    """Tell whether connections wait to be accepted: then, and only then, a listening socket can be read (accept(2))."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
