"""Random traffic: operations of the whole API, right and spoilt, and clients that behave in every way. The seed decides all of it."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, quote_from_bytes

__all__ = ("ENDING", "Ending", "Traffic", "Visit")

Ending = Literal["read", "leave", "half", "stall"]
"""What a client does after it has sent everything: read to the end, close at once, close its side, or send nothing more."""

ENDING: Final = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_KEYS: Final = [f"fuzz/{number}" for number in range(100)] + [
    "fuzz/ü",
    "fuzz/%",
    "fuzz//",
    "fuzz/a b",
    "fuzz/\x01",
    "fuzz/😀",
]
_TOKENS: Final = [
    b"\r\n", b"\r\n\r\n", b"\0", b"%00", b"%", b"%ff", b"\xff\xfe", b'"', b"\\", b"\\ud800", b"[" * 70, b"{", b"}", b",", b":", b"*", b"-1",
    b"1e999", b"9" * 400, b"null", b"true", b"&", b"=", b"?", b"/", b"//", b"..", b" ", b"\t", b"a" * 3000, b"0\r\n\r\n", b"ffffffff\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
    b"If-Match: *\r\n", b"X-Request-Id: \x7f\r\n", b"GET / HTTP/1.0\r\n\r\n",
]  # fmt: skip
_ETAGS: Final = ['"019ab3f2c4d80000a1b2c3d4"', "*", 'W/"0"', '"', "", '"' + "0" * 24 + '"']


class Visit(NamedTuple):
    """What one client sends on one connection, in parts, and how it ends; `requests` is how many it was made from."""

    parts: list[bytes]
    ending: Ending
    requests: int


class Traffic:
    """Makes visits from a seed: the same ones in the same order, whatever is answered."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._operations: list[tuple[int, Callable[[], bytes]]] = [
            (20, self._put),
            (20, self._get),
            (8, self._delete),
            (15, self._put_raw),
            (15, self._get_raw),
            (5, self._delete_raw),
            (8, self._list),
            (1, self._delete_many),
            (10, self._batch),
            (6, self._operate),
        ]

    def visit(self) -> Visit:
        """Return what the next client does."""
        chance = self._random
        requests = chance.choice((1, 1, 1, 2, 3, 8))
        weights, operations = zip(*self._operations, strict=True)
        wire = b""
        for make in chance.choices(operations, weights, k=requests):
            sent = make()
            wire += self._spoilt(sent) if chance.random() < 0.35 else sent
        ending: Ending = chance.choices(("read", "leave", "half", "stall"), (90, 5, 4, 1))[0]
        if ending == "read":
            wire += ENDING
        elif ending == "stall":
            wire = wire[: chance.randrange(len(wire) or 1)]  # a spoilt request may be none at all
        return Visit(self._parts(wire), ending, requests)

    # --- operations ---------------------------------------------------------------------------------------------------

    def _put(self) -> bytes:
        data: dict[str, Any] = {"key": self._key(), "value": self._value()}
        if self._random.random() < 0.2:
            data["ttl"] = self._random.choice((1, 60, 0, -1, 1.5, 10**12, None, "1"))
        return self._request("PUT", "/kv" + self._query(ack=("stored", "accepted", "x")), self._json({"data": data}))

    def _get(self) -> bytes:
        query = self._query(
            min_version=("0" * 24, "1" * 24, "019ab3f2c4d80000a1b2c3d4", "f" * 24), wait=("0", "5", "-1")
        )
        return self._request(
            self._random.choice(("GET", "GET", "HEAD")), f"/kv{query or '?'}&key={self._quoted()}".replace("?&", "?")
        )

    def _delete(self) -> bytes:
        return self._request("DELETE", f"/kv?key={self._quoted()}")

    def _put_raw(self) -> bytes:
        chance = self._random
        body = (
            chance.randbytes(chance.choice((0, 1, 100, 5000))) if chance.random() < 0.6 else self._json(self._value())
        )
        kind = chance.choice(("application/json", "text/plain; charset=utf-8", "image/png", "x", "text/html", ""))
        target = f"/kv/{self._quoted()}" + self._query(ttl=("1", "60", "0", "x"), ack=("stored",))
        return self._request("PUT", target, body, f"Content-Type: {kind}" if kind else None)

    def _get_raw(self) -> bytes:
        return self._request(self._random.choice(("GET", "GET", "HEAD", "OPTIONS")), f"/kv/{self._quoted()}")

    def _delete_raw(self) -> bytes:
        return self._request("DELETE", f"/kv/{self._quoted()}")

    def _list(self) -> bytes:
        query = self._query(
            prefix=("fuzz/", "", "fuzz/%C3%BC", "%ff", "x"), limit=("1", "10", "1000", "0", "1001"), values=("true", "false", "1"),
            cursor=("", "abc", "AAAA", base64.urlsafe_b64encode(self._random.randbytes(12)).decode()),
        )  # fmt: skip
        return self._request(self._random.choice(("GET", "GET", "HEAD")), "/keys" + query)

    def _delete_many(self) -> bytes:
        return self._request("DELETE", "/keys" + self._query(prefix=("fuzz/1", "fuzz/", ""), limit=("1", "10", "1000")))

    def _batch(self) -> bytes:
        chance = self._random
        operations: list[Any] = []
        for _ in range(chance.choice((0, 1, 3, 20))):
            key = self._key()
            operations.append(
                chance.choice(
                    (
                        {"op": "get", "key": key},
                        {"op": "put", "key": key, "value": self._value()},
                        {"op": "put", "key": key, "value_base64": "AAEC", "media_type": "image/png", "ttl": 60},
                        {"op": "delete", "key": key, "if_match": chance.choice(_ETAGS)},
                        {"op": chance.choice(("get", "x", None)), "key": chance.choice((key, "", 1))},
                    )
                )
            )
        return self._request("POST", "/batch", self._json({"operations": operations}), "Content-Type: application/json")

    def _operate(self) -> bytes:
        paths = (
            "/health",
            "/health/live",
            "/health/ready",
            "/cache/stats",
            "/metrics",
            "/",
            "/docs",
            "/nothing",
            "/kv/",
            "//kv",
        )
        return self._request(self._random.choice(("GET", "GET", "HEAD", "OPTIONS", "POST")), self._random.choice(paths))

    # --- their parts --------------------------------------------------------------------------------------------------

    def _request(self, method: str, target: str, body: bytes | None = None, *lines: str | None) -> bytes:
        chance = self._random
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", *(line for line in lines if line is not None)]
        if chance.random() < 0.2:
            head.append(
                chance.choice(
                    (
                        f"If-Match: {chance.choice(_ETAGS)}",
                        f"If-None-Match: {chance.choice(_ETAGS)}",
                        "If-None-Match: *\r\nIdempotency-Key: " + chance.choice(("a", "b", '"c"', "", "ü", "x" * 300)),
                        "Cache-Control: no-cache",
                        "Content-Encoding: gzip",
                        "Authorization: Bearer x",
                        "X-Request-Id: mine",
                        "Expect: 100-continue",
                        "If-Unmodified-Since: x",
                    )
                )
            )
        if body is None:
            return ("\r\n".join(head) + "\r\n\r\n").encode()
        if chance.random() < 0.2:
            chunks = [body[at : at + 700] for at in range(0, len(body), 700)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
            head.append("Transfer-Encoding: chunked")
        else:
            head.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(head) + "\r\n\r\n").encode() + body

    def _query(self, **parameters: tuple[str, ...]) -> str:
        """Return a query with some of these parameters, each with one of its values."""
        chosen = [
            f"{name}={self._random.choice(values)}"
            for name, values in parameters.items()
            if self._random.random() < 0.3
        ]
        return "?" + "&".join(chosen) if chosen else ""

    def _key(self) -> str:
        return (
            self._random.choice(("", "\0", "k" * 70_000))
            if self._random.random() < 0.01
            else self._random.choice(_KEYS)
        )

    def _quoted(self) -> str:
        if self._random.random() < 0.05:
            return quote_from_bytes(self._random.randbytes(5))
        return quote(self._key(), safe="")

    def _value(self) -> Any:
        chance = self._random
        return chance.choice(
            (
                None,
                True,
                0,
                -1.5e300,
                "text",
                "ü😀\0",
                [],
                {},
                {"a": [1, {"b": None}]},
                [[]] * 50,
                "v" * 2000,
                "v" * 80_000,
            )
        )

    def _json(self, document: Any) -> bytes:
        """Return JSON, and now and then JSON that was spoilt, as a body of the right length."""
        body = json.dumps(document, ensure_ascii=self._random.random() < 0.5).encode("utf-8", "surrogatepass")
        return self._spoilt(body) if self._random.random() < 0.2 else body

    def _spoilt(self, sent: bytes) -> bytes:
        """Return bytes of which some are missing, doubled, replaced or new."""
        chance = self._random
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(sent) + 1)
            to = min(len(sent), at + chance.choice((0, 1, 1, 4, 40)))
            put = chance.choice(
                (b"", chance.randbytes(chance.randrange(1, 5)), chance.choice(_TOKENS), sent[at:to] * 2)
            )
            sent = sent[:at] + put + sent[to:]
        return sent

    def _parts(self, wire: bytes) -> list[bytes]:
        """Cut what is sent into packets."""
        if self._random.random() < 0.7:
            return [wire]
        cuts = sorted(self._random.randrange(len(wire) + 1) for _ in range(self._random.choice((1, 2, 10))))
        return [part for part in (wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)) if part]


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
