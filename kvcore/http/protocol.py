"""uvicorn's HTTP/1.1 protocol, with a bound on what a request's head may weigh and problem documents for what is no HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kvcore.http.problems import MEDIA_TYPE, PROBLEMS, problem_body

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application  # uvicorn names its types nowhere else

__all__ = ("MAX_HEAD_BYTES", "StrictHttpProtocol")

MAX_HEAD_BYTES: Final = 256 * 1024
"""Request line and header fields: enough for a key of 64 KiB with every byte percent-encoded."""


class StrictHttpProtocol(HttpToolsProtocol):
    """One connection, of which nothing is believed.

    httptools collects header fields of any length, also those behind a chunked body; a head that is too large ends the
    connection. It takes the body of a request that asks for an upgrade for the next request; such a request is refused,
    and one without a body is the connection's last.
    """

    _in_head = True
    _is_over = False
    _untaken_bytes = 0
    _running: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._is_over:
            return
        # What has come since the parser last handed over a head, a part of a body or the end of a request. Up to one
        # read too little, when a handover is followed by more.
        self._untaken_bytes += len(data)
        super().data_received(data)
        if self._untaken_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse("header-too-large", f"the request's head is larger than {MAX_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, unless it stands behind a chunked body: nobody has asked for trailers."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note the end of the head, and take the request's target apart: httptools' own way ends at 65,535 bytes."""
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            raise ValueError("a body in another transfer coding")
        if self.parser.should_upgrade():
            self._is_over = True
            if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
                raise ValueError("a request with a body cannot be upgraded")
        self._in_head = False
        self._untaken_bytes = 0
        target = self.url
        if not target.startswith(b"/"):
            super().on_headers_complete()
        else:
            self.url = b"/"
            raw_path, _, query = target.partition(b"?")
            path = raw_path.decode("ascii")
            super().on_headers_complete()
            # The request is served from the next turn of the loop on.
            self.scope["path"] = unquote(path) if "%" in path else path
            self.scope["raw_path"] = raw_path
            self.scope["query_string"] = query
        if self._is_over or self.expect_100_continue:
            # A client that waits for "100 Continue" may leave out its body when it gets another answer, or send it: what
            # follows cannot be told from it.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._untaken_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request: what follows is the next one's head."""
        self._in_head = True
        self._untaken_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of this connection, and not only the last one, that nobody waits for its answer."""
        super().connection_lost(exc)
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        hint = "in a path and a query, everything but ASCII must be percent-encoded; an Upgrade is not supported"
        self._refuse("malformed-http", f"what was sent is not a valid HTTP/1.1 request ({hint})")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, name: str, detail: str) -> None:
        """Answer with a problem, if no answer to another request stands in the way, and read nothing more."""
        self._is_over = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._in_head and not cycle.response_complete:
            cycle.keep_alive = False  # the requests before are answered, and that is the end
            return
        if cycle is None or self._in_head or not (cycle.response_started or self.pipeline):
            status = HTTPStatus(PROBLEMS[name].status)
            body = problem_body(name, detail)
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE.decode()}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        if cycle is not None:
            cycle.disconnected = True  # whoever still waits for its body has been answered
        self.transport.close()
