"""uvicorn's HTTP/1.1 protocol, with bounds on what a client may send and how long it may take, and problem documents."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sized
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast
from urllib.parse import unquote

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kvcore.backends import MAX_KEY_BYTES
from kvcore.http.connections import LINGER_S, Connections
from kvcore.http.headers import http_date
from kvcore.http.outgoing import Outgoing
from kvcore.http.problems import MEDIA_TYPE, PROBLEMS, problem_body
from kvcore.metrics import Limit
from kvcore.problem_types import ProblemName

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, HTTPScope  # uvicorn names its types nowhere else

__all__ = ("MAX_HEAD_BYTES", "StrictHttpProtocol")

MAX_HEAD_BYTES: Final = 256 * 1024
"""Request line and header fields: enough for a key of 64 KiB with every byte percent-encoded."""

_MAX_PATH_CHARS: Final = len("/kv/") + 3 * MAX_KEY_BYTES
_MAX_FIELDS: Final = 100
"""Header fields of a request. Each costs a hundred bytes and more here, and two to send."""
_MAX_PIPELINED: Final = 100
"""Requests that wait for their turn on a connection. Only those of one read can: see `_Flow`."""
_MAX_LENGTH_DIGITS: Final = 20
"""More than any length has; `int` takes no text of more than 4,300 digits."""
_BODY_FIELDS: Final = frozenset((b"content-length", b"transfer-encoding"))
_NO_ROOM: Final = "too many bodies and answers are under way: try again"
_RETRY: Final = "retry-after: 1\r\n"
Phase = Literal["idle", "head", "body"]
"""What a client may keep us waiting with: its next request, the rest of a head, the rest of a body."""


class _Flow(FlowControl):
    """Reads nothing more while requests wait for their turn; uvicorn does so for each of them, and they would grow in number."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless there is something to do first."""
        if not self._waiting:
            super().resume_reading()


class StrictHttpProtocol(HttpToolsProtocol):
    """One connection, of which nothing is believed.

    httptools collects header fields of any length, also those behind a chunked body; a head that is too large ends the
    connection. It takes the body of a request that asks for an upgrade for the next request; such a request is refused,
    and one without a body is the connection's last.

    Nothing notes the time when something arrives. Once a second `look_after` sees what the connection waits for, and
    whether that is still the same as before. Its patience grows shorter by a second then, and longer by the time that the
    bytes which have come may take: one who is too slow by half has twice the time of one who has stopped.
    """

    _in_head = True
    _reason: tuple[ProblemName, str, Limit | None] | None = None  # why we take for no HTTP what the parser takes
    _is_over = False
    _lingers = False
    _untaken_bytes = 0
    _running: RequestResponseCycle | None = None
    _received = 0  # of the body of the last request
    _held = 0  # of the bodies of requests without an answer yet
    _held_by_running = 0  # of these, the one that is being answered
    _held_of_head = 0  # of the head that is not at its end yet
    untaken_answer = 0  # by the client, when there was too much of it to go on
    _phase: Phase | None = None
    _subject: object = None
    _seen = 0  # of what was received, when it was looked at last
    _unsent = 0
    _looked_at = 0.0
    _patience_s = _send_patience_s = 0.0

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(server_state, Connections)  # noqa: S101 - `InstanceServer` has made it
        self._all = server_state
        self._buffers = server_state.buffers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a connection, if there may be one more."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        if len(self.connections) > self._all.limit:
            self._refuse("overloaded", f"there are {self._all.limit} connections already: try again", "connections")

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._is_over:
            return
        # What has come since the parser last handed over a head, a part of a body or the end of a request. Up to one
        # read too little, when a handover is followed by more.
        self._untaken_bytes += len(data)
        super().data_received(data)
        if self._untaken_bytes != self._held_of_head and not self._is_over:
            self._hold_head(self._untaken_bytes)
        if self._untaken_bytes > MAX_HEAD_BYTES and not (self._lingers or self.transport.is_closing()):
            self._refuse("header-too-large", f"the request's head is larger than {MAX_HEAD_BYTES} bytes", "head-size")

    def _hold_head(self, size: int) -> None:
        """Count what has come of a head, which is not at its end yet; there must be room for it, as for a body."""
        grown, self._held_of_head = size - self._held_of_head, size
        self._buffers.bodies += grown
        buffers = self._buffers
        if grown > 0 and buffers.held > buffers.limit and buffers.held > size and not self._all.make_room():
            self._refuse("overloaded", _NO_ROOM, "buffered-bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, unless it stands behind a chunked body: nobody has asked for trailers."""
        if not self._in_head:
            return
        super().on_header(name, value)
        if len(self.headers) > _MAX_FIELDS:
            self._fail(f"the request has more than {_MAX_FIELDS} header fields", "header-too-large", "head-size")

    def on_headers_complete(self) -> None:
        """Note the end of the head, and take the request's target apart: httptools' own way ends at 65,535 bytes."""
        if len(self.pipeline) >= _MAX_PIPELINED:  # those before it are answered, the last of them as the last one
            self._fail(f"more than {_MAX_PIPELINED} requests wait on this connection", limit="pipelined-requests")
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # a client of that version knows no 100 (RFC 9110, section 10.1.1)
        has_body = self._announces_a_body()
        if self.parser.should_upgrade():
            self._is_over = True
            if has_body:
                self._fail("a request with a body cannot ask for an upgrade")
        self._in_head = False
        self._untaken_bytes = self._received = 0
        target = self.url
        if not target.startswith(b"/"):
            super().on_headers_complete()
        else:
            self.url = b"/"
            raw_path, _, query = target.partition(b"?")
            path = raw_path.decode("ascii")
            super().on_headers_complete()
            # The request is served from the next turn of the loop on.
            # One that is too long for any key takes four times the room when it is decoded, and leads nowhere.
            self.scope["path"] = unquote(path) if "%" in path and len(path) <= _MAX_PATH_CHARS else path
            self.scope["raw_path"] = raw_path
            self.scope["query_string"] = query
        if self._is_over or self.expect_100_continue:
            # A client that waits for "100 Continue" may leave out its body when it gets another answer, or send it: what
            # follows cannot be told from it.
            self.cycle.keep_alive = False
        self.cycle.transport = Outgoing(
            self.transport,
            self._close_unread if has_body else self.transport.close,
            joins=self.scope["method"] != "HEAD" and not self.expect_100_continue,
        )
        if self._all.is_draining:
            self._make_last(self.cycle)

    def _announces_a_body(self) -> bool:
        """Tell whether a body follows, as far as can be told in one way only.

        Raises:
            ValueError: its end is not where everybody would see it.
        """
        has_body = False
        for name, value in self.headers:
            if name in _BODY_FIELDS:
                has_body = True
                if name == b"content-length":
                    if len(value) > _MAX_LENGTH_DIGITS:
                        self._fail("its Content-Length is no length")
                elif value.lower() != b"chunked" or self.parser.get_http_version() != "1.1":
                    self._fail("a body is sent with Content-Length, or in HTTP/1.1 as Transfer-Encoding: chunked")
        return has_body

    def _fail(self, detail: str, name: ProblemName = "malformed-http", limit: Limit | None = None) -> NoReturn:
        """Have the parser stop, and `send_400_response` be called."""
        self._reason = name, detail, limit
        raise ValueError(detail)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, if it is still wanted, and there is room for it."""
        self._untaken_bytes = 0
        size = len(body)
        self._received += size
        if self._is_over or self.cycle.response_complete:
            return
        buffers = self._buffers
        self._held += size
        buffers.bodies += size
        if self.cycle is self._running:
            self._held_by_running += size
        if buffers.held > buffers.limit and buffers.held > self._held and not self._all.make_room():
            self._refuse("overloaded", _NO_ROOM, "buffered-bytes")
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request: what follows is the next one's head."""
        self._in_head = True
        self._untaken_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request. uvicorn arms a timer for each besides, which `look_after` spares."""
        self.server_state.total_requests += 1
        self._release(self._held_by_running)
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.scope is self.cycle.scope:
            # Idle, it keeps nothing of a head, of which the path alone may take a megabyte.
            self.url, self.headers = b"", []
            self.scope = self.cycle.scope = cast("HTTPScope", {})
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Note how much of an answer has to wait until the client takes it."""
        super().pause_writing()
        self.untaken_answer = self.transport.get_write_buffer_size()
        self._buffers.answers += self.untaken_answer
        if self._buffers.held > self._buffers.limit and self._buffers.held > self.untaken_answer:
            self._all.make_room()

    def resume_writing(self) -> None:
        """Go on: the client has taken nearly all."""
        super().resume_writing()
        self._forget_untaken()
        if self.transport.is_closing():
            return  # what stands behind the last answer is not looked at: its client may send it again
        if self.pipeline and (self._running is None or self._running.response_complete):
            self._start_asgi_task(*self.pipeline.pop())
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of this connection, and not only the last one, that nobody waits for its answer."""
        super().connection_lost(exc)
        self._hold_head(0)
        self._release(self._held)
        self._forget_untaken()
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def cut_off(self) -> None:
        """End the connection at once, and what it holds of an answer."""
        self._forget_untaken()
        self.transport.abort()

    def _forget_untaken(self) -> None:
        self._buffers.answers -= self.untaken_answer
        self.untaken_answer = 0

    # --- the last answer ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let the connection end with the answer to the last of the requests that are there, or else to the next one.

        An answer that has begun without saying that it is the last one, is not the last one: a client may send its next
        request as soon as it has the answer.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            self._make_last(cycle)

    def shutdown(self) -> None:
        """Close when what is under way is answered; where no request has come yet, or a part of a head, wait a moment for it."""
        cycle: RequestResponseCycle | None = self.cycle
        if self._lingers:
            return
        if self._all.linger_s and not self._is_over and (cycle is None or self.scope is not cycle.scope):
            self.loop.call_later(self._all.linger_s, super().shutdown)
        else:
            super().shutdown()

    def _make_last(self, cycle: RequestResponseCycle) -> None:
        """Let an answer say `connection: close`, and close in good order after it. Requests behind it are not looked at.

        The client knows by that field that they were not (RFC 9112, section 9.6).
        """
        cycle.keep_alive = False
        if self._all.linger_s:
            cast("Outgoing", cycle.transport).end = self._linger

    def _close_unread(self) -> None:
        """Close after an answer that is the last one; where it came before the end of the request, in good order."""
        if self._in_head:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Send the end, and close when the client has done so too, or has not in time; take what it sends, and drop it.

        To close while something that was sent is not read, or still comes, resets the connection; by that the client may
        lose the answer before it has read it (RFC 9112, section 9.6). A proxy that does takes the node for broken, and asks
        it nothing for a while: a few requests, each refused with good reason, would have it think so of all nodes.
        """
        if self._lingers or self.transport.is_closing():
            return
        self._is_over = self._lingers = True
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True  # nothing can be written any more, no invitation to send a body either
                cycle.waiting_for_100_continue = False
        self.pipeline.clear()
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    # --- patience -----------------------------------------------------------------------------------------------------

    def look_after(self, now: float) -> None:
        """Close the connection if the client keeps it waiting for too long. To be called once a second, with the time."""
        passed_s, self._looked_at = now - self._looked_at, now
        if self._is_too_slow_a_reader(passed_s):
            self._all.metrics.http.limited("send-timeout")
            self.transport.abort()
            return
        phase, subject = self._waits_for()
        if phase is None or phase is not self._phase or subject is not self._subject:
            self._phase, self._subject = phase, subject
            self._patience_s = math.inf if phase is None else self._longest_s(phase)
            self._seen = self._received
            return
        progress_s = (self._received - self._seen) / self._all.times.min_bytes_per_s
        self._patience_s = min(self._patience_s - passed_s + progress_s, self._longest_s(phase))
        self._seen = self._received
        if self._patience_s <= 0:
            self._give_up(phase)

    def _longest_s(self, phase: Phase) -> float:
        times = self._all.times
        return {"idle": times.keep_alive_s, "head": times.head_timeout_s, "body": times.body_timeout_s}[phase]

    def _give_up(self, phase: Phase) -> None:
        if phase == "idle":
            self.transport.close()
        elif phase == "head":
            self._refuse("request-timeout", "the head of the request takes too long", "head-timeout")
        else:
            self._refuse("request-timeout", "the body of the request takes too long", "body-timeout")

    def _waits_for(self) -> tuple[Phase | None, object]:
        """Return what the client is to send next, and what stays the same object for as long as that is so."""
        cycle: Any = self.cycle  # None before the first request, as is the scope
        if self.flow.read_paused or self.pipeline or self._lingers or self.transport.is_closing():
            return None, None
        if not self._in_head:
            return "body", cycle
        if self.scope if cycle is None else self.scope is not cycle.scope:
            return "head", self.scope
        if cycle is None or cycle.response_complete:
            return "idle", cycle
        return None, None  # it waits for us

    def _is_too_slow_a_reader(self, passed_s: float) -> bool:
        """Tell whether the client does not take an answer, or more slowly than it may."""
        times, before, self._unsent = self._all.times, self._unsent, self.transport.get_write_buffer_size()
        if self._unsent == 0 or self._unsent > before:  # it has taken all, or there is something new
            self._send_patience_s = times.send_timeout_s
            return False
        progress_s = (before - self._unsent) / times.min_bytes_per_s
        self._send_patience_s = min(self._send_patience_s - passed_s + progress_s, times.send_timeout_s)
        return self._send_patience_s <= 0

    # --- refusals -----------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it."""
        hint = "in a path and a query, everything but ASCII must be percent-encoded; an Upgrade is not supported"
        any_other = "malformed-http", f"what was sent is not a valid HTTP/1.1 request ({hint})", None
        self._refuse(*(self._reason or any_other))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self.flow.write_paused:
            # Its answer would have to wait, whole and uncounted, until the client has taken those before.
            self.flow.pause_reading()
            self.pipeline.append((cycle, app))
            return
        self._running = cycle
        self._held_by_running = len(cycle.body)
        super()._start_asgi_task(cycle, app)

    def _release(self, size: int) -> None:
        """Let go of so many bytes of bodies: of all, or of the one that was answered."""
        self._buffers.bodies -= size
        self._held -= size
        self._held_by_running = 0

    def _refuse(self, name: ProblemName, detail: str, limit: Limit | None = None) -> None:
        """Answer with a problem, if no answer to another request stands in the way, and read nothing more."""
        if limit is not None:
            self._all.metrics.http.limited(limit)
        self._is_over = True
        self._hold_head(0)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._in_head and not cycle.response_complete:
            cycle.keep_alive = False  # the requests before are answered, and that is the end
            cast("Outgoing", cycle.transport).end = self._linger
            return
        if cycle is None or self._in_head or not (cycle.response_started or self.pipeline):
            self.transport.write(_refusal(name, detail))
        if cycle is not None:
            cycle.disconnected = True  # whoever still waits for its body has been answered
        self._release(self._held)
        if limit == "connections":
            self.transport.close()  # there is no room for those who are refused
        else:
            self._linger()


def _refusal(name: ProblemName, detail: str) -> bytes:
    """Return a whole answer, after which the connection ends."""
    status = HTTPStatus(PROBLEMS[name].status)
    is_later = status is HTTPStatus.SERVICE_UNAVAILABLE
    body = problem_body(name, detail, **({"outcome": "not-applied"} if is_later else {}))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ndate: {http_date(time.time()).decode()}\r\ncontent-type: {MEDIA_TYPE.decode()}\r\n"
        f"content-length: {len(body)}\r\n{_RETRY if is_later else ''}connection: close\r\n\r\n"
    )
    return head.encode() + body
