"""Sees what a page does behind the tester's back."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

__all__ = ("Watch",)

_SAID_OF_ANSWERS: Final = "Failed to load resource"
"""How the browser itself repeats in its console that a request has failed, which is seen better as an answer."""
_CALLED_OFF: Final = "net::ERR_ABORTED"
"""A request that nobody waits for any more, since the page has gone on."""
_WITHOUT_HOST: Final = ("data:", "blob:")


class Watch:
    """Collects the faults of all pages of a context.

    A fault is: an error or a warning in the console, which includes every violation of the Content-Security-Policy; an exception that
    nobody caught; a dialog of the browser; a request to anybody but the node; a request that failed. What a test
    provokes, it has to expect.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.faults: list[str] = []
        self.requested: list[Request] = []
        self._url = f"{url}/"
        self._expected: dict[str, bool] = {}
        context.on("console", self._said)
        context.on("weberror", self._raised)
        context.on("dialog", self._asked)
        context.on("request", self._sent)
        context.on("response", self._answered)
        context.on("requestfailed", self._failed)

    def expect(self, *failures: str) -> None:
        """Expect failures that begin so, such as "412 PUT /kv", any number of times and at least once."""
        self._expected |= dict.fromkeys(failures, False)

    def check(self) -> None:
        """Refuse every fault, and every failure that was expected and did not come."""
        missing = [f"expected, and did not come: {failure}" for failure, came in self._expected.items() if not came]
        faults = self.faults + missing
        assert not faults, "\n".join(faults)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert") and not message.text.startswith(_SAID_OF_ANSWERS):
            self.faults.append(f"console {message.type}: {message.text}")

    def _raised(self, error: WebError) -> None:
        self.faults.append(f"uncaught: {error.error}")

    def _asked(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog of the browser: {dialog.message}")
        dialog.dismiss()

    def _sent(self, request: Request) -> None:
        self.requested.append(request)
        if not request.url.startswith((self._url, *_WITHOUT_HOST)):
            self.faults.append(f"request to another host: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._note(str(response.status), response.request)

    def _failed(self, request: Request) -> None:
        if request.failure != _CALLED_OFF:
            self._note(str(request.failure), request)

    def _note(self, failure: str, request: Request) -> None:
        parts = urlsplit(request.url)
        what = f"{failure} {request.method} {parts.path}"
        expected = [start for start in self._expected if what.startswith(start)]
        self._expected |= dict.fromkeys(expected, True)
        if not expected:
            self.faults.append(f"failed: {what}")
