"""A stand-in for a node that keeps what reaches it, byte for byte, and answers, dies or hangs as a test wants."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from kvcore.testing.servers.ports import HOST, free_port

__all__ = (
    "FakeNode",
    "Received",
    "answering",
    "dying",
    "dying_within_the_body",
    "dying_within_the_head",
    "hanging",
    "saying",
    "talking_nonsense",
)

_RESET: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: the connection ends at once, and the other side is told so."""


class Received(NamedTuple):
    """A request: its first line, its header fields (names in lower case) and its body, without chunks."""

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def field(self, name: str) -> str | None:
        """Return the value of a field that is there once; None: it is not there."""
        found = [value.decode("latin-1") for one, value in self.fields if one == name.encode()]
        assert len(found) < 2, f"{name} is there {len(found)} times"
        return found[0] if found else None


class Connection(StreamRequestHandler):
    """One connection, until one side ends it."""

    server: FakeNode

    def handle(self) -> None:
        """Take requests."""
        self.server.connections += 1
        while (request := self._received()) is not None:
            self.server.requests.append(request)
            self.server.behaviour(self)

    def say(self, answer: bytes) -> None:
        """Send bytes."""
        self.wfile.write(answer)

    def die(self) -> None:
        """End the connection as the end of the process would."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.rfile.close()
        self.connection.close()

    def _received(self) -> Received | None:
        try:
            line = self.rfile.readline()
            if not line:
                return None
            fields = []
            while field := self.rfile.readline().rstrip(b"\r\n"):
                name, _, value = field.partition(b":")
                fields.append((name.lower(), value.strip()))
            size = int(dict(fields).get(b"content-length", b"0"))
            return Received(line.rstrip(b"\r\n"), tuple(fields), self.rfile.read(size))
        except (OSError, ValueError):  # it was ended, from one side or the other
            return None


class FakeNode(ThreadingTCPServer):
    """One that listens on a port of its own as long as it is entered, and that refuses connections else.

    Attributes:
        address: Where it listens.
        requests: What has reached it.
        connections: How many there were.
        behaviour: What it does when it has read a request.
        let_go: Set when it ends, for whoever hangs.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, behaviour: Callable[[Connection], None] | None = None) -> None:
        super().__init__((HOST, free_port()), Connection, bind_and_activate=False)
        self.address = f"{HOST}:{self.server_address[1]}"
        self.behaviour = behaviour or answering
        self.requests: list[Received] = []
        self.connections = 0
        self.let_go = Event()

    def __enter__(self) -> Self:
        self.server_bind()
        self.server_activate()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.let_go.set()
        self.shutdown()
        self.server_close()


def saying(answer: bytes) -> Callable[[Connection], None]:
    """Return a behaviour: these bytes are the answer to every request."""

    def say(connection: Connection) -> None:
        connection.say(answer)

    return say


answering: Final = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
talking_nonsense: Final = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\0\r\n\r\n")


def dying(connection: Connection) -> None:
    """Take the request, and end without an answer."""
    connection.die()


def dying_within_the_head(connection: Connection) -> None:
    """Take the request, and end within the head of the answer."""
    connection.say(b"HTTP/1.1 200 OK\r\ncontent-")
    connection.die()


def dying_within_the_body(connection: Connection) -> None:
    """Take the request, and end within the body of the answer."""
    connection.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    connection.wfile.close()
    connection.rfile.close()
    connection.connection.close()


def hanging(connection: Connection) -> None:
    """Take the request, and answer only when let go."""
    connection.server.let_go.wait()
    answering(connection)
