"""As much of Redis's protocol as asking a few questions takes, so that starting Redis needs no driver of it."""

from __future__ import annotations

import socket
from io import BufferedRWPair

from kvcore.testing.servers.ports import HOST
from kvcore.testing.servers.process import ServerError

__all__ = ("RedisReplyError", "Reply", "ask")

_ANSWERS_WITHIN_S = 1.0

Reply = str | int | list["Reply"] | None


class RedisReplyError(ServerError):
    """Redis has answered with an error, such as LOADING."""


def ask(port: int, *command: str, password: str | None = None) -> Reply:
    """Send one command to the Redis or sentinel on that port of 127.0.0.1, and return its reply.

    Raises:
        OSError: it does not answer within a second.
        RedisReplyError: it answers with an error.
    """
    with (
        socket.create_connection((HOST, port), timeout=_ANSWERS_WITHIN_S) as connection,
        connection.makefile("rwb") as stream,
    ):
        if password is not None:
            _call(stream, "AUTH", password)
        return _call(stream, *command)


def _call(stream: BufferedRWPair, *command: str) -> Reply:
    words = [word.encode() for word in command]
    stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
    stream.flush()
    return _read_reply(stream)


def _read_reply(stream: BufferedRWPair) -> Reply:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis has closed the connection")
    kind, text = line[:1], line[1:-2].decode()
    match kind:
        case b"+":
            return text
        case b"-":
            raise RedisReplyError(text)
        case b":":
            return int(text)
        case b"$":
            return None if text == "-1" else stream.read(int(text) + 2)[:-2].decode()
        case b"*":
            return None if text == "-1" else [_read_reply(stream) for _ in range(int(text))]
        case _:
            raise RedisReplyError(f"not a reply: {line!r}")
