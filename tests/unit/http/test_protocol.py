"""How long a connection waits for its client, on a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from kvcore.http.protocol import StrictHttpProtocol
from tests.unit.http.wire import Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


async def ended(wire: Wire) -> None:
    """Return when the node has closed a connection."""
    while not wire.ending:
        await asyncio.sleep(0.001)  # a timer of the loop's closes it, and nothing else can be awaited


def watch(protocol: StrictHttpProtocol, begin: int, end: int) -> None:
    """Look after a connection at every second."""
    for now in range(begin, end + 1):
        protocol.look_after(float(now))


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET])
async def test_an_idle_connection_is_closed_in_its_time(sent: bytes) -> None:
    """A connection stays open for `keep_alive_s` without a request, and no longer."""
    protocol, wire = Stage().connect()
    protocol.data_received(sent)
    await protocol_settled(protocol)
    watch(protocol, 0, 74)
    assert not wire.is_closing()
    watch(protocol, 75, 75)
    assert wire.is_closing()


async def protocol_settled(protocol: StrictHttpProtocol) -> None:
    """Return when the requests of a connection are answered."""
    while protocol.tasks:
        await asyncio.sleep(0)


async def test_requests_in_time_keep_a_connection_open() -> None:
    """Each request begins the waiting anew."""
    protocol, wire = Stage().connect()
    for number in range(5):
        protocol.data_received(GET)
        await protocol_settled(protocol)
        watch(protocol, 70 * number, 70 * number + 69)
    assert not wire.ending


async def test_a_head_has_its_time_however_it_drips() -> None:
    """Bytes that come one by one do not lengthen the time of a head."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    await stage.settled()
    for now in range(10):
        protocol.data_received(GET[now : now + 1])
        protocol.look_after(float(now))
        assert not wire.is_half_closed
    protocol.look_after(10.0)
    assert wire.is_half_closed
    assert wire.written.count(b"HTTP/1.1 408 ") == 1
    assert stage.counted("head-timeout")


@pytest.mark.parametrize(("bytes_per_s", "is_taken"), [(100, True), (50, False)])
async def test_a_slow_body_is_taken_if_it_keeps_the_least_rate(bytes_per_s: int, is_taken: bool) -> None:
    """A large body may take as long as it needs at `min_bytes_per_s`; one that is slower has twice its time or less."""
    stage = Stage()
    protocol, wire = stage.connect()
    size = 10_000
    protocol.data_received(PUT % size)
    for now in range(size // bytes_per_s):
        if not wire.ending:
            await asyncio.sleep(0)
            protocol.look_after(float(now))
            protocol.data_received(b"x" * bytes_per_s)
    await asyncio.sleep(0)
    if is_taken:
        await stage.settled()
    assert wire.written.count(b"HTTP/1.1 200 ") == is_taken
    assert wire.written.count(b"HTTP/1.1 408 ") == (not is_taken)
    assert stage.counted("body-timeout") == (not is_taken)


async def test_a_body_that_stops_has_the_same_time_however_much_came_before() -> None:
    """Bytes that came quickly do not give the rest a longer time."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(PUT % 100_000)
    watch(protocol, 0, 1)
    protocol.data_received(b"x" * 50_000)
    watch(protocol, 2, 11)
    assert not wire.ending
    watch(protocol, 12, 12)
    assert wire.written.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_we_do_not_read_is_not_slow() -> None:
    """While reading is paused, since requests before have no answer yet, nothing is asked of the client."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received(GET + PUT % 10)
    await asyncio.sleep(0)
    watch(protocol, 0, 100)
    assert not wire.ending
    stage.may_answer.set()
    while wire.written.count(b"HTTP/1.1 200 ") < 1:
        await asyncio.sleep(0)
    watch(protocol, 101, 112)
    assert wire.written.count(b"HTTP/1.1 408 ") == 1


async def test_a_slow_answer_of_ours_is_not_the_client_s_fault() -> None:
    """A request that waits for us has no limit here."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    await asyncio.sleep(0)
    watch(protocol, 0, 1000)
    assert not wire.ending
    stage.may_answer.set()
    await stage.settled()


@pytest.mark.parametrize(("bytes_per_s", "cut_off_at"), [(100, None), (50, 60), (0, 30)])
async def test_who_reads_too_slowly_is_cut_off(bytes_per_s: int, cut_off_at: int | None) -> None:
    """An answer may take as long as it needs at `min_bytes_per_s`; who is slower has twice the time or less."""
    stage = Stage()
    protocol, wire = stage.connect()
    wire.untaken = 50_000
    protocol.shutdown()
    now = 0
    while wire.ending != "aborted" and wire.untaken:
        protocol.look_after(float(now))
        wire.untaken -= bytes_per_s
        now += 1
    assert (now - 1 if wire.ending == "aborted" else None) == cut_off_at
    assert stage.counted("send-timeout") == (cut_off_at is not None)


async def test_what_is_held_is_let_go_of_in_every_way() -> None:
    """The bytes of bodies and of answers count until the answer, until they are taken, or until the connection ends."""
    stage = Stage()
    stage.may_answer.clear()
    answered, _ = stage.connect()
    answered.data_received(PUT % 10 + b"0123456789")
    lost, wire = stage.connect()
    lost.data_received(PUT % 10 + b"01234")
    assert stage.buffers.held == 15
    wire.untaken = 1000
    lost.pause_writing()
    assert stage.buffers.held == 1015
    lost.resume_writing()
    assert stage.buffers.held == 15
    lost.pause_writing()
    lost.connection_lost(None)
    assert stage.buffers.held == 10
    stage.may_answer.set()
    await stage.settled()
    assert stage.buffers.held == 0


async def test_a_body_for_which_there_is_no_room_is_refused() -> None:
    """When all bodies together are too large, the one that comes is answered 503, and what it held is free."""
    stage = Stage(buffered_bytes=1000)
    stage.may_answer.clear()
    first, _ = stage.connect()
    first.data_received(PUT % 900 + b"x" * 900)
    second, wire = stage.connect()
    second.data_received(PUT % 900 + b"x" * 200)
    assert wire.written.startswith(b"HTTP/1.1 503 ")
    assert wire.is_half_closed
    assert stage.buffers.held == 900
    assert stage.counted("buffered-bytes")
    second.data_received(b"x" * 700)
    assert stage.buffers.held == 900
    second.connection_lost(None)
    stage.may_answer.set()
    await stage.settled()


async def test_nothing_is_read_while_requests_wait_for_their_turn() -> None:
    """A client that sends requests faster than they are answered is not read from: what waits stays as much as one read."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received((PUT % 3 + b"abc") * 3)
    while not wire.written:
        assert not wire.is_read()
        stage.may_answer.set()
        await asyncio.sleep(0)
        stage.may_answer.clear()
    await asyncio.sleep(0)
    assert not wire.is_read()
    stage.may_answer.set()
    await stage.settled()
    assert wire.is_read()
    assert wire.written.count(b"HTTP/1.1 200 ") == 3


async def test_a_body_is_let_go_of_when_it_is_answered_while_others_wait() -> None:
    """Who always has one more request under way does not hold the bodies of all those before."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received((PUT % 3 + b"abc") * 2 + PUT % 9 + b"abc")
    assert stage.buffers.held == 9
    for answered in (1, 2):
        stage.may_answer.set()
        while wire.written.count(b"HTTP/1.1 200 ") < answered:
            await asyncio.sleep(0)
        stage.may_answer.clear()
        assert stage.buffers.held == 9 - 3 * answered
    protocol.data_received(b"defghi")
    assert stage.buffers.held == 9
    stage.may_answer.set()
    await stage.settled()
    assert stage.buffers.held == 0


async def test_who_leaves_the_most_untaken_makes_room_for_others() -> None:
    """When all together hold too much, the client that has left the most of its answer is cut off, and nobody is refused."""
    stage = Stage(buffered_bytes=1000)
    wires = []
    for untaken in (300, 500, 199):
        protocol, wire = stage.connect()
        wire.untaken = untaken
        protocol.pause_writing()
        wires.append(wire)
    assert stage.buffers.held == 999
    protocol, wire = stage.connect()
    protocol.data_received(PUT % 2 + b"ab")
    assert [one.ending for one in wires] == ["", "aborted", ""]
    assert stage.buffers.held == 501
    assert stage.counted("buffered-bytes")
    await stage.settled()
    assert wire.written.startswith(b"HTTP/1.1 200 ")
    wire.untaken = 600
    protocol.pause_writing()
    assert [one.ending for one in (*wires, wire)] == ["", "aborted", "", "aborted"]
    assert stage.buffers.held == 499


async def test_one_connection_too_many_is_refused() -> None:
    """Beyond the limit a connection is answered 503, and nothing that it sends is looked at."""
    stage = Stage(connections=1)
    stage.connect()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    assert wire.written.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in wire.written
    assert wire.ending == "closed"
    assert not stage.connections.tasks
    assert stage.counted("connections")


async def test_a_second_has_ten_ticks_and_looks_after_each_connection_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the connections at each tick, and those not that have ended meanwhile."""
    stage = Stage(connections=100)
    looked_after: list[object] = []
    monkeypatch.setattr(StrictHttpProtocol, "look_after", lambda protocol, now: looked_after.append(protocol))
    everybody = [stage.connect()[0] for _ in range(25)]
    for tick in range(10, 20):
        before = len(looked_after)
        stage.connections.sweep(tick)
        assert len(looked_after) - before in (2, 3)
    assert len(looked_after) == 25
    assert set(looked_after) == set(everybody)
    looked_after.clear()
    stage.connections.sweep(20)
    for protocol in everybody:
        protocol.connection_lost(None)
    before = len(looked_after)
    stage.connections.sweep(21)
    assert len(looked_after) == before


CLOSE = b"\r\nconnection: close\r\n"
MOMENT_S = 0.01
LONG_S = 1000.0


async def test_a_draining_connection_ends_with_its_next_answer() -> None:
    """The answer says so, and after it the node sends its end; requests behind it are not looked at, and cost no answer."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    await stage.settled()
    stage.connections.drain(MOMENT_S)
    assert CLOSE not in wire.written
    protocol.data_received(GET + GET)
    await stage.settled()
    assert wire.written.count(b"HTTP/1.1 200 ") == 2
    assert wire.written.count(CLOSE) == 1
    assert wire.is_half_closed
    protocol.data_received(GET)
    assert not stage.connections.tasks
    await ended(wire)
    assert wire.ending == "closed"
    assert wire.written.count(b"HTTP/1.1 ") == 2


async def test_what_is_there_when_draining_begins_is_answered() -> None:
    """Of several requests that were sent without waiting the last one's answer says that it is the last."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received((PUT % 3 + b"abc") * 3)
    await asyncio.sleep(0)
    stage.connections.drain(LONG_S)
    stage.may_answer.set()
    await stage.settled()
    assert wire.written.count(b"HTTP/1.1 200 ") == 3
    assert wire.written.count(CLOSE) == 1
    assert CLOSE in wire.written[wire.written.rindex(b"HTTP/1.1 ") :]
    assert stage.buffers.held == 0


async def test_an_answer_that_has_begun_is_not_the_last() -> None:
    """It cannot say so any more, so the client may have sent the next request, which is answered."""
    stage = Stage()
    stage.may_go_on.clear()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    while not protocol.cycle.response_started:
        await asyncio.sleep(0)
    stage.connections.drain(LONG_S)
    stage.may_go_on.set()
    await stage.settled()
    assert not wire.is_half_closed
    protocol.data_received(GET)
    await stage.settled()
    assert wire.written.count(b"HTTP/1.1 200 ") == 2
    assert wire.written.count(CLOSE) == 1
    assert wire.is_half_closed


async def test_the_rest_of_a_body_after_the_last_answer_is_taken_and_dropped() -> None:
    """A client that still sends when it is refused can send to the end, and then read why."""
    stage = Stage()
    protocol, wire = stage.connect()
    stage.connections.drain(LONG_S)
    protocol.data_received(PUT % 1_000_000 + b"x" * 100_000)
    assert not wire.is_read()
    protocol.cycle.more_body = False  # an application that does not read to the end
    await stage.settled()
    assert wire.is_half_closed
    assert wire.is_read()
    protocol.data_received(b"x" * 900_000)
    assert stage.buffers.held == 0
    assert not wire.ending


async def test_nothing_is_written_behind_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A request that is not answered yet when one behind it is refused in its body gets no answer, and that is no fault."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received(GET + b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    protocol.data_received(b"no length\r\n")
    assert wire.is_half_closed
    stage.may_answer.set()
    await stage.settled()
    assert wire.written == b""
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("beginning", [b"PUT / HTTP/1.0", b"PUT /\xff HTTP/1.1"])
async def test_who_is_refused_while_sending_can_send_to_the_end(beginning: bytes) -> None:
    """An answer before the end of a request, after which the connection ends, is not lost by a reset: who still sends can read it."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(beginning + b"\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    if protocol.cycle is not None:
        protocol.cycle.more_body = False  # an application that does not read to the end
    await stage.settled()
    assert wire.written.count(CLOSE) == 1
    assert wire.is_half_closed
    assert wire.is_read()
    assert not wire.ending
    protocol.data_received(b"x" * 900_000 + GET)
    watch(protocol, 0, 20)
    await ended(wire)
    assert stage.buffers.held == 0
    assert wire.written.count(CLOSE) == 1


async def test_at_the_end_a_new_connection_has_a_moment_for_its_first_request() -> None:
    """Nothing has come on it yet, or a part of a head: it stays open for so long, and a request that comes is answered."""
    stage = Stage()
    used, used_wire = stage.connect()
    used.data_received(GET)
    await stage.settled()
    stage.connections.drain(LONG_S)
    new, new_wire = stage.connect()
    begun, begun_wire = stage.connect()
    for protocol in (used, begun):
        protocol.data_received(GET[:20])
    for protocol in (used, new, begun):
        protocol.shutdown()
    new.data_received(GET)
    for protocol in (used, begun):
        protocol.data_received(GET[20:])
    await stage.settled()
    for wire, answers in ((used_wire, 2), (new_wire, 1), (begun_wire, 1)):
        assert wire.written.count(b"HTTP/1.1 200 ") == answers
        assert wire.is_half_closed
        assert not wire.ending


async def test_at_the_end_a_connection_that_stays_silent_is_closed() -> None:
    """At once where it has had an answer or there is nothing to wait for; after its moment where it is new."""
    stage = Stage()
    used, used_wire = stage.connect()
    used.data_received(GET)
    await stage.settled()
    new, new_wire = stage.connect()
    stage.connections.drain(MOMENT_S)
    used.shutdown()
    new.shutdown()
    assert used_wire.ending == "closed"
    assert not new_wire.ending
    await ended(new_wire)
    stage.connections.drain(0)
    other, other_wire = stage.connect()
    other.shutdown()
    assert other_wire.ending == "closed"


async def test_an_end_without_lingering_closes_after_the_answer() -> None:
    """Who is told to stop at once waits for the requests under way, and for nothing else."""
    stage = Stage()
    stage.may_answer.clear()
    protocol, wire = stage.connect()
    protocol.data_received(GET)
    await asyncio.sleep(0)
    stage.connections.drain(0)
    protocol.shutdown()
    stage.may_answer.set()
    await stage.settled()
    assert CLOSE in wire.written
    assert wire.ending == "closed"
    assert not wire.is_half_closed


async def test_the_end_does_not_cut_short_a_client_that_reads_its_last_answer() -> None:
    """A connection that has had its last answer is left to its client, or its moment."""
    stage = Stage()
    protocol, wire = stage.connect()
    stage.connections.drain(LONG_S)
    protocol.data_received(GET)
    await stage.settled()
    protocol.shutdown()
    assert wire.is_half_closed
    assert not wire.ending
    protocol.data_received(GET)
    assert not stage.connections.tasks


@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked", "Content-Length"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked", "Content-Length"),
        (b"PUT / HTTP/1.1\r\nContent-Length: " + b"0" * 5000, "Content-Length is no length"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nConnection: upgrade\r\nUpgrade: h2c", "upgrade"),
        (b"PUT / HTTP/1.1\r\n" + b"\r\n".join([b"a: b"] * 101), "more than 100 header fields"),
        ("GET /ä HTTP/1.1".encode(), "percent-encoded"),
    ],
    ids=["chunks in HTTP/1.0", "another coding", "no length", "upgrade", "fields", "any other"],
)
async def test_what_is_no_http_is_told_what_to_do(head: bytes, detail: str) -> None:
    """A refusal names what is wrong with this request, where that is known."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(head + b"\r\nHost: a\r\n\r\n")
    await stage.settled()
    assert detail in wire.written.decode()


async def test_requests_beyond_those_that_may_wait_are_counted() -> None:
    """Those before them are answered, the last of these as the last one, and an operator sees that there were more."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 300)
    await stage.settled()
    assert 1 <= wire.written.count(b"HTTP/1.1 200 OK") <= 102
    assert wire.written.count(b"connection: close") == 1
    assert stage.counted("pipelined-requests")


async def test_what_is_left_of_a_head_is_counted() -> None:
    """A head that does not come to its end takes room like a body, and lets go of it when it is whole, refused or gone."""
    stage = Stage(buffered_bytes=100_000)
    protocol, _ = stage.connect()
    protocol.data_received(b"GET /" + b"a" * 40_000)
    assert 39_000 < stage.buffers.held <= 40_005
    protocol.data_received(b" HTTP/1.1\r\nHost: a\r\n\r\n")
    await stage.settled()
    assert stage.buffers.held == 0
    others = [stage.connect() for _ in range(3)]
    for other, _ in others:
        other.data_received(b"GET /" + b"a" * 40_000)
    assert others[2][1].written.startswith(b"HTTP/1.1 503 ")
    assert stage.counted("buffered-bytes")
    for other, _ in others:
        other.connection_lost(None)
    assert stage.buffers.held == 0


async def test_an_idle_connection_keeps_nothing_of_a_head() -> None:
    """Thousands of idle connections would keep the longest paths that were ever asked for."""
    stage = Stage()
    protocol, _ = stage.connect()
    for _ in range(2):
        protocol.data_received(
            b"GET /kv/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 9_000 + b"\r\n\r\n"
        )
        await stage.settled()
        assert (
            sum(len(repr(part)) for part in (protocol.url, protocol.headers, protocol.scope, protocol.cycle.scope))
            < 100
        )


async def test_no_answer_is_made_while_those_before_it_are_not_taken() -> None:
    """It would wait in full, and nobody would count it; it is made as soon as there is room, and in its order."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.pause_writing()
    protocol.data_received(GET * 3)
    assert not stage.connections.tasks
    assert not wire.is_read()
    protocol.resume_writing()
    await stage.settled()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 3
    assert wire.is_read()


async def test_what_waits_for_a_reader_ends_with_the_connection() -> None:
    """Nothing is begun for somebody who has gone."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.pause_writing()
    protocol.data_received(GET)
    protocol.connection_lost(None)
    assert not stage.connections.tasks
    assert wire.writes == []


async def test_nothing_behind_the_last_answer_is_begun_when_that_is_taken() -> None:
    """Its client was told that the connection ends, and may send it again: done twice, it could bring back what was replaced."""
    stage = Stage()
    protocol, wire = stage.connect()
    protocol.pause_writing()
    protocol.data_received(GET)
    wire.close()
    protocol.resume_writing()
    assert not stage.connections.tasks
