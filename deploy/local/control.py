"""How a command speaks with the supervisor: over a Unix socket in the folder, with one JSON document a line.

The command sends a `Request`. The supervisor answers with any number of `Said`, and a `Result` or a `Refusal` at the end. Nobody but
their user can reach the socket.
"""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from deploy.local.place import PID_FILE, opened
from deploy.local.progress import Say

__all__ = ("Command", "NotRunningError", "RefusedError", "Request", "ask", "serving")

Command = Literal["status", "down", "kill", "pause", "resume", "restart"]

_SOCKET: Final = PID_FILE.with_name("socket")


class NotRunningError(Exception):
    """No supervisor answers there."""


class RefusedError(Exception):
    """The supervisor could not do it; the message says why."""


class Request(msgspec.Struct, frozen=True):
    """What is to be done, and to which processes."""

    do: Command
    names: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True, tag=True):
    """A word of progress."""

    text: str


class Result(msgspec.Struct, frozen=True, tag=True):
    """It is done. `value` is what was asked for."""

    value: Any


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """It could not be done, and why."""

    reason: str


Reply = Said | Result | Refusal


@contextmanager
def serving(folder: Path, answer: Callable[[Request, Say], Any]) -> Iterator[None]:
    """Have requests answered, each in a thread of its own, and the folder known as used by this process.

    `answer` returns what JSON can say; what it raises is a refusal.
    """
    (folder / PID_FILE).parent.mkdir(mode=0o700)
    (folder / PID_FILE).write_text(f"{os.getpid()}\n")
    with _address(folder) as address, _Server(address, answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="control")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def ask(folder: Path, request: Request, say: Say = lambda _: None) -> Any:
    """Have the supervisor do something, and return its result.

    Raises:
        NotRunningError: there is none, or it has ended before it was done.
        RefusedError: it could not.
        PlaceError: the folder is somebody else's.
    """
    try:
        with _address(folder) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            with connection.makefile("rwb") as stream:
                stream.write(msgspec.json.encode(request) + b"\n")
                stream.flush()
                for line in stream:
                    match msgspec.json.decode(line, type=Reply):
                        case Said(text):
                            say(text)
                        case Result(value):
                            return value
                        case Refusal(reason):
                            raise RefusedError(reason)
    except (FileNotFoundError, ConnectionError):
        pass
    raise NotRunningError(f"nothing runs in {folder}")


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give the socket's path by a descriptor of the folder: an address has room for 107 bytes, and the folder's path may be longer."""
    with opened(folder) as descriptor:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        try:
            request = msgspec.json.decode(self.rfile.readline(), type=Request)
            self._send(Result(self.server.answer(request, lambda text: self._send(Said(text)))))
        except ConnectionError:
            pass  # whoever has asked does not want to know any more
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told to whoever has asked, not to the terminal of the supervisor
            self._send(Refusal(str(error) or repr(error)))

    def _send(self, reply: Reply) -> None:
        self.wfile.write(msgspec.json.encode(reply) + b"\n")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, answer: Callable[[Request, Say], Any]) -> None:
        self.answer = answer
        super().__init__(address, _Handler)
