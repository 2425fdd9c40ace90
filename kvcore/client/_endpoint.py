"""Where a node is, and what sending a request there may end in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from kvcore.client._calls import Call
from kvcore.errors import RequestError, UnavailableError
from kvcore.secret import Secret

__all__ = ("Endpoint",)

CONNECT_S: Final = 5.0
_MAX_URL: Final = 60_000
"""httpx takes URLs of up to 65,536 characters."""
_TOKEN: Final = re.compile(r"[!-~]+")


class Endpoint:
    """The URL of a node, and the token for it, which is shown nowhere."""

    def __init__(self, url: str, token: str | Secret | None) -> None:
        self._base = httpx.URL(_checked_url(url))
        self.url = str(self._base)
        self._token = Secret(token) if isinstance(token, str) else token
        if self._token is not None and not _TOKEN.fullmatch(self._token.reveal()):
            raise RequestError("the token is empty, or holds what is not visible ASCII: a line end, perhaps")

    def request(self, call: Call[object], timeout_s: float) -> dict[str, Any]:
        """Return what httpx makes a request of."""
        headers = dict(call.headers)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        target = self._base.raw_path.rstrip(b"/") + call.target.encode()
        is_long = len(target) > _MAX_URL
        return {
            "method": call.method,
            "url": self._base if is_long else self._base.copy_with(raw_path=target),
            "headers": headers,
            "content": call.body,
            "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            "extensions": {"target": target} if is_long else None,
        }

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Raise what kvcore has for the errors of httpx.

        Raises:
            RequestError: the request cannot be sent as it is.
            UnavailableError: there is no answer; `outcome` tells whether the request was sent.
        """
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise RequestError(f"{self.url}: the request cannot be sent: {error}") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            why = str(error) or "no connection in time"
            raise UnavailableError(
                f"no node answers at {self.url} ({why})", outcome="not-applied", retry_after_s=0
            ) from None
        except httpx.HTTPError as error:
            what = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
            raise UnavailableError(f"{self.url}: {what or type(error).__name__}", retry_after_s=0) from None


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL("")
    if parsed.userinfo:
        raise RequestError("the URL of a node holds no password: give a token instead")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise RequestError(f"{url!r} is not the URL of a node, such as http://127.0.0.1:8000")
    if parsed.path.rstrip("/").endswith("/kv"):  # `a` would be written as `kv/a`
        raise RequestError(f"{url!r} is where a node has its keys: leave out /kv")
    return url
