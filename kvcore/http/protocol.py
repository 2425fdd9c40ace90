"""uvicorn's HTTP/1.1 protocol, with a bound on what a request's head may weigh and problem documents for what is no HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kvcore.http.problems import MEDIA_TYPE, PROBLEMS, problem_body

__all__ = ("MAX_HEAD_BYTES", "StrictHttpProtocol")

MAX_HEAD_BYTES: Final = 256 * 1024
"""Request line and header fields: enough for a key of 64 KiB with every byte percent-encoded."""


class StrictHttpProtocol(HttpToolsProtocol):
    """One connection. httptools collects header fields of any length; here a head that is too large ends the connection."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            # Counted by what arrives, so up to one read too much when requests are sent without waiting for answers.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse("header-too-large", f"the request's head is larger than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Note the end of the head, and take the request's target apart: httptools' own way ends at 65,535 bytes."""
        self._in_head = False
        target = self.url
        if not target.startswith(b"/"):
            super().on_headers_complete()
            return
        self.url = b"/"
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        super().on_headers_complete()
        # The request is served from the next turn of the loop on.
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw_path
        self.scope["query_string"] = query

    def on_message_complete(self) -> None:
        """Note the end of the request: what follows is the next one's head."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        hint = "in a path and a query, everything but ASCII must be percent-encoded"
        self._refuse("malformed-http", f"what was sent is not a valid HTTP/1.1 request ({hint})")

    def _refuse(self, name: str, detail: str) -> None:
        """Answer with a problem and close, unless that would land in or before the answer to an earlier request."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not (cycle.response_started or self._in_head or self.pipeline):
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
