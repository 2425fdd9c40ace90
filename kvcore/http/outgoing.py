"""What an answer is written to: its head and its body go out together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ("Outgoing",)

_COPIED_BYTES: Final = 64 * 1024
"""Up to here it costs less to copy a body behind its head than to hand over both."""


class Outgoing(asyncio.Transport):
    """The way of one answer to its client. How the connection ends after it is `end`'s to say.

    uvicorn writes a head as soon as it knows it, and the body after that: two system calls, two packets, a receiver that
    wakes up twice; and a process that is killed between the two leaves half an answer, which a proxy cannot take back any
    more to ask another node. ASGI lets a server keep the head until the body comes. Where nothing comes behind the head,
    as with HEAD, or something before it (100 Continue), `joins` is to be False.
    """

    __slots__ = ("_head", "_keeps_head", "_transport", "end")

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None], *, joins: bool) -> None:
        # The parent keeps a dict for `get_extra_info`, which nobody asks an answer for.
        self._transport = transport
        self._keeps_head = joins
        self._head = b""
        self.end = end

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a head, which is kept for now, or a part of a body."""
        if self._keeps_head:
            self._keeps_head = False
            self._head = bytes(data)
        elif not self._head:
            self._transport.write(data)
        else:
            head, self._head = self._head, b""
            if len(data) <= _COPIED_BYTES:
                self._transport.write(head + data)
            else:
                self._transport.writelines((head, data))

    def is_closing(self) -> bool:
        """Tell whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection after this answer; of one that broke off before its body, nothing was sent."""
        self.end()
