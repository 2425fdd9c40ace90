# ruff: noqa: INP001 - a script, which is mounted into a container
"""Whether a kvcore that has just been started does what it is there for, asked as clients ask: smoke_test.py URL.

A handful of requests to a key of its own, which is deleted again. The token is /run/secrets/api_token. What is answered 503 is sent
again for a while, as clients do: a machine that has just started all this is busy. Prints a line for each check; exits with 1 at the
first that fails. Needs the standard library only.
"""

import http.client
import json
import sys
import time
import uuid
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

TOKEN_FILE = Path("/run/secrets/api_token")
PATIENCE_S = 60.0
PAUSE_S = 1.0


class Node:
    """What answers at a URL; each request has a connection of its own."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._address = parts.netloc
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._token = token

    def ask(
        self, method: str, path: str, body: str | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Message, bytes]:
        """Return status, header fields and body of the answer; after a 503, of the next one, but for a conditional write.

        Raises:
            OSError: nobody answers.
        """
        is_repeatable = not (headers and {"If-Match", "If-None-Match"} & headers.keys() and method != "GET")
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            answer = self._ask_once(method, path, body, headers or {})
            if answer[0] != HTTPStatus.SERVICE_UNAVAILABLE or not is_repeatable or time.monotonic() > ends_s:
                return answer
            time.sleep(PAUSE_S)  # between two looks: a container tells nobody when it serves

    def _ask_once(
        self, method: str, path: str, body: str | bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Message, bytes]:
        connection = self._connect(self._address, timeout=10)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}", **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def check(what: str, *, holds: bool, found: object) -> None:
    """Print what was checked; end the program where it does not hold."""
    if not holds:
        sys.exit(f"FAILED  {what}: {found!r}")
    print(f"ok      {what}")  # noqa: T201 - for who has started it


def check_health(node: Node) -> None:
    """All tiers work, at the latest after a while, and what people look at is there."""
    ends_s = time.monotonic() + PATIENCE_S
    while True:
        status, _, body = node.ask("GET", "/health")
        is_healthy = status == 200 and json.loads(body)["status"] == "healthy"
        if is_healthy or time.monotonic() > ends_s:
            break
        time.sleep(PAUSE_S)  # between two looks: a container tells nobody when it serves
    check("/health says healthy", holds=is_healthy, found=body)
    for path, name in (("/", "the console"), ("/docs", "the documentation")):
        status, _, _ = node.ask("GET", path)
        check(f"{name} is at {path}", holds=status == 200, found=status)


def check_json(node: Node, key: str) -> None:
    """A value is written, read and deleted."""
    written = json.dumps({"data": {"key": key, "value": "valor123"}})
    status, headers, body = node.ask("PUT", "/kv?ack=stored", written, {"Content-Type": "application/json"})
    check("PUT /kv reaches the store", holds=status == 200, found=(status, body))
    version = json.loads(body)["data"]["version"]
    status, _, body = node.ask("GET", f"/kv?key={key}&min_version={version}")
    check("GET /kv reads it", holds=json.loads(body).get("data") == {"value": "valor123"}, found=(status, body))
    status, _, _ = node.ask("GET", f"/kv/{key}", headers={"If-None-Match": headers["ETag"]})
    check("GET with the version that it has is answered 304", holds=status == 304, found=status)
    status, _, body = node.ask("PUT", f"/kv/{key}", "no", {"If-None-Match": "*"})
    check("PUT of a key that exists, only if it does not, is refused", holds=status == 412, found=(status, body))
    status, _, body = node.ask("PUT", f"/kv/{key}", "two", {"If-Match": headers["ETag"], "Content-Type": "text/plain"})
    check("PUT with the version that it has is done", holds=status == 200, found=(status, body))
    status, _, body = node.ask("DELETE", f"/kv?key={key}&ack=stored")
    check("DELETE /kv reaches the store", holds=status == 200, found=(status, body))
    status, _, body = node.ask("GET", f"/kv?key={key}", headers={"Cache-Control": "no-cache"})
    check("GET /kv of what was deleted is answered 404", holds=status == 404, found=(status, body))


def check_raw(node: Node, key: str) -> None:
    """Any bytes go in, through the queue, and come back as they are."""
    data = bytes(range(256))
    status, headers, body = node.ask("PUT", f"/kv/{key}", data, {"Content-Type": "application/octet-stream"})
    check("PUT of bytes is accepted by the queue", holds=status == 202, found=(status, body))
    version = headers["ETag"].strip('"')
    status, headers, body = node.ask("GET", f"/kv/{key}?min_version={version}&wait=10000")
    same = body == data and headers["Content-Type"] == "application/octet-stream"
    check("GET gives the same bytes", holds=status == 200 and same, found=(status, body[:80]))
    node.ask("DELETE", f"/kv/{key}")


def check_access(url: str) -> None:
    """Nobody reads without a token, and the administration is not public."""
    stranger = Node(url, "kvc_unknown")
    status, _, _ = stranger.ask("GET", "/kv?key=a")
    check("a token that is not known is refused", holds=status == 401, found=status)
    status, _, _ = stranger.ask("GET", "/metrics")
    check("/metrics is not public", holds=status in (403, 404), found=status)


def main(url: str) -> None:
    """Check everything."""
    node = Node(url, TOKEN_FILE.read_text().strip())
    key = f"smoke-test-{uuid.uuid4()}"
    check_health(node)
    check_json(node, key)
    check_raw(node, key)
    check_access(url)


if __name__ == "__main__":
    main(sys.argv[1])
