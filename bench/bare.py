"""The least that an ASGI application can do: read the request, answer in two sends. What a node is compared with."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ("application",)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def application() -> Application:
    """Build it from the environment: BARE_ANSWERS is JSON, from a path to status, content type and size of the body."""
    asked: dict[str, tuple[int, str, int]] = json.loads(os.environ["BARE_ANSWERS"])
    answers = {path: _messages(*answer) for path, answer in asked.items()}

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            while (await receive()).get("more_body"):
                pass
        start, body = answers[scope["path"]]
        await send(start)
        await send(body)

    return app


def _messages(status: int, media_type: str, size: int) -> tuple[Message, Message]:
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(size).encode())]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": b"x" * size},
    )
