"""What handlers return: a complete answer, which is a small ASGI application itself."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar.types import Receive, Scope, Send

__all__ = ("NO_CACHE", "NO_STORE", "Answer", "Headers", "json_answer")

Headers = list[tuple[bytes, bytes]]

NO_CACHE: Final = (b"cache-control", b"no-cache")
"""Whoever keeps an answer asks again before using it: nobody tells them of a write."""
NO_STORE: Final = (b"cache-control", b"no-store")
"""Nobody is to keep an answer."""
_encode: Final = msgspec.json.Encoder().encode
_WITHOUT_LENGTH: Final = (204, 304)


class Answer:
    """Status, header fields and body. Litestar sends it as it is, without building a response from it first.

    `body` is None where there is none, which is not the same as an empty one. `headers` becomes part of the answer.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes | None = None,
        *,
        media_type: bytes = b"application/json",
        headers: Headers | None = None,
    ) -> None:
        self.status = status
        self.body = body or b""
        self.headers = headers or []
        if body is not None:
            self.headers += ((b"content-type", media_type), (b"content-length", b"%d" % len(body)))
        elif status not in _WITHOUT_LENGTH:
            self.headers.append((b"content-length", b"0"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    def to_asgi_response(self, **_: Any) -> Answer:
        """Return itself: what Litestar asks of the result of an exception handler."""
        return self


def json_answer(body: msgspec.Struct, cache_control: tuple[bytes, bytes], *, status: int = 200) -> Answer:
    """Return a form as an answer, which is kept as `NO_CACHE` or `NO_STORE` say."""
    return Answer(status, _encode(body), headers=[cache_control])
