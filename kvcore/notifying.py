"""Telling the service manager that the process is ready: systemd's `Type=notify`.

A datagram to the socket that `NOTIFY_SOCKET` names, as sd_notify(3) describes it
(www.freedesktop.org/software/systemd/man/latest/sd_notify.html). Where nobody listens, nothing happens. That it stops is not told:
it does so when the manager wants it, who knows.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = ("notify_ready",)


def notify_ready() -> None:
    """Say that the process serves: whoever restarts several one after the other goes on with the next."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a socket in no file system, whose name begins with a zero byte
        address = "\0" + address[1:]
    # A manager that does not listen is no reason not to serve; it will notice by itself that nothing came.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.setblocking(False)
        to.sendto(b"READY=1", address)
