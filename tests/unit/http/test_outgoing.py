"""What is written of an answer, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.http.wire import Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
Send = Callable[[Any], Awaitable[None]]


def start(length: int) -> dict[str, Any]:
    """Return the beginning of an answer with so many bytes."""
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a part of an answer's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


async def answered(request: bytes, *messages: dict[str, Any]) -> Wire:
    """Return what a connection wrote to answer a request by an application that sends these messages."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        for message in messages:
            await send(message)

    stage = Stage(app=app)
    protocol, wire = stage.connect()
    protocol.data_received(request)
    await stage.settled()
    return wire


@pytest.mark.parametrize("size", [0, 2, 65_536, 65_537, 1 << 20])
async def test_head_and_body_are_one_write(size: int) -> None:
    """A small answer is one packet, and nobody is left with half of it."""
    wire = await answered(GET, start(size), part(b"x" * size))
    (write,) = wire.writes
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert write.endswith(b"\r\n\r\n" + b"x" * size)


async def test_the_parts_behind_the_first_are_written_as_they_come() -> None:
    """A body in parts is not collected."""
    wire = await answered(GET, start(3), part(b"a", more=True), part(b"b", more=True), part(b"c"))
    assert [write[-1:] for write in wire.writes] == [b"a", b"b", b"c"]


async def test_a_head_without_a_body_is_written() -> None:
    """The answer to HEAD is there although nothing follows its head."""
    wire = await answered(HEAD, start(2), part(b"ok"))
    (write,) = wire.writes
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert write.endswith(b"\r\n\r\n")


async def test_every_answer_of_a_connection_is_written_whole() -> None:
    """What one answer keeps back has nothing to do with the next."""
    wire = await answered(GET + HEAD + GET, start(2), part(b"ok"))
    assert [write[-4:] for write in wire.writes] == [b"\r\nok", b"\r\n\r\n", b"\r\nok"]


async def test_of_an_answer_that_breaks_off_before_its_body_nothing_is_sent() -> None:
    """A connection that just ends can be told from an answer, and a read be sent to another node."""
    wire = await answered(GET, start(2))
    assert wire.writes == []
    assert wire.ending == "closed"


async def test_an_invitation_to_send_the_body_is_not_kept() -> None:
    """A client that waits for 100 Continue hears of it before it sends anything."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await send(start(2))
        await send(part(b"ok"))

    stage = Stage(app=app)
    protocol, wire = stage.connect()
    protocol.data_received(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    while not wire.writes:
        await asyncio.sleep(0)
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    protocol.data_received(b"hi")
    await stage.settled()
    assert wire.written.endswith(b"\r\n\r\nok")


async def test_a_client_of_http_1_0_gets_no_invitation() -> None:
    """It does not know what that is, and sends its body all the same."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(b"PUT / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    protocol.data_received(b"hi")
    await stage.settled()
    (write,) = wire.writes
    assert write.startswith(b"HTTP/1.1 200 ")


async def test_nobody_is_invited_behind_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Whose body turns out to be broken before it is asked for, has been answered, and nothing can be written any more."""
    stage = Stage()
    protocol, wire = stage.connect()
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    protocol.data_received(head + b"no chunk\r\n")
    await stage.settled()
    (write,) = wire.writes
    assert write.startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.exc_info] == []
