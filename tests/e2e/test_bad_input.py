"""Bad input never costs anything: each case gets its status and problem, and the same process serves the next request."""

from __future__ import annotations

import json
import socket
from typing import NamedTuple

import pytest

from kvcore.testing.nodes import NodeProcess

KEY_LIMIT = 65_536
VALUE_LIMIT = 1 << 20


class Case(NamedTuple):
    """What is sent, byte for byte, and what must come back; `half` closes our side of the connection after it."""

    name: str
    sent: bytes
    status: int
    problem: str
    half: bool = False


def request(method: str, target: bytes, body: bytes | None = None, *headers: bytes) -> bytes:
    """Write a request."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: localhost", *headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def put(body: bytes, *headers: bytes, target: bytes = b"/kv") -> bytes:
    """Write a PUT."""
    return request("PUT", target, body, *headers)


def get(query: bytes, *headers: bytes) -> bytes:
    """Write a GET."""
    return request("GET", b"/kv?" + query, None, *headers)


def value(raw: bytes) -> bytes:
    """Write a PUT of a raw JSON value."""
    return put(b'{"data":{"key":"bad","value":' + raw + b"}}")


GOOD = b'{"data":{"key":"bad","value":1}}'
ETAG = b'"019ab3f2c4d80000a1b2c3d4"'

CASES = [
    # What is no HTTP
    Case("not HTTP at all", b"hello\r\n\r\n", 400, "malformed-http"),
    Case("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed-http"),
    Case("unknown method", b"FETCH /kv HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed-http"),
    Case("header without colon", b"GET /kv HTTP/1.1\r\nHost a\r\n\r\n", 400, "malformed-http"),
    Case("NUL in a header", b"GET /kv HTTP/1.1\r\nHost: localhost\x00b\r\n\r\n", 400, "malformed-http"),
    Case("two content lengths", put(GOOD, b"Content-Length: 5"), 400, "malformed-http"),
    Case("content length that is no number", b"PUT /kv HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "malformed-http"),
    Case("negative content length", b"PUT /kv HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "malformed-http"),
    Case(
        "body in another coding",
        b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed-http",
    ),
    Case("length and chunks", put(GOOD, b"Transfer-Encoding: chunked"), 400, "malformed-http"),
    Case(
        "broken chunk",
        b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "malformed-http",
    ),
    Case("raw bytes in the path", b"GET /k\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed-http"),
    Case("raw UTF-8 in the query", get("key=straße".encode()), 400, "malformed-http"),
    Case("space in the path", b"GET /kv?key=a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed-http"),
    Case("endless header", b"GET /kv?key=a HTTP/1.1\r\nX: " + b"x" * 600_000, 431, "header-too-large"),
    Case("endless path", b"GET /" + b"x" * 600_000, 431, "header-too-large"),
    Case("endless number of headers", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000, 431, "header-too-large"),
    # Paths and methods
    Case("no such path", request("GET", b"/nothing"), 404, "no-such-resource"),
    Case("path below a file", request("GET", b"/health/live/x"), 404, "no-such-resource"),
    Case("path that climbs", request("GET", b"/docs/assets/../../../etc/passwd"), 404, "no-such-resource"),
    Case("path that climbs, escaped", request("GET", b"/docs/assets/%2e%2e/%2e%2e/app.py"), 404, "no-such-resource"),
    Case("asset with a NUL", request("GET", b"/docs/assets/a%00b"), 404, "no-such-resource"),
    Case("asset of a name that no file has", request("GET", b"/docs/assets/" + b"a" * 5000), 404, "no-such-resource"),
    Case("wrong method", request("POST", b"/kv", b"{}"), 405, "method-not-allowed"),
    Case("wrong method on health", request("DELETE", b"/health"), 405, "method-not-allowed"),
    # Queries
    Case("no key", get(b""), 400, "invalid-request"),
    Case("key without name", get(b"=a"), 400, "invalid-request"),
    Case("empty key", get(b"key="), 400, "invalid-key"),
    Case("key given twice", get(b"key=a&key=b"), 400, "invalid-request"),
    Case("unknown parameter", get(b"key=a&colour=red"), 400, "invalid-request"),
    Case("parameter in capitals", get(b"KEY=a"), 400, "invalid-request"),
    Case("empty parameter", get(b"key=a&"), 400, "invalid-request"),
    Case("half an escape", get(b"key=%4"), 400, "invalid-request"),
    Case("escape that is no hex", get(b"key=%zz"), 400, "invalid-request"),
    Case("key that is not UTF-8", get(b"key=%ff%fe"), 400, "invalid-request"),
    Case("overlong UTF-8", get(b"key=%c0%af"), 400, "invalid-request"),
    Case("surrogate in UTF-8", get(b"key=%ed%a0%80"), 400, "invalid-request"),
    Case("NUL in the key", get(b"key=a%00b"), 400, "invalid-key"),
    Case("key too long", get(b"key=" + b"k" * (KEY_LIMIT + 1)), 414, "key-too-long"),
    Case("key too long in bytes", get(b"key=" + b"%c3%a9" * (KEY_LIMIT // 2 + 1)), 414, "key-too-long"),
    Case("min_version too short", get(b"key=a&min_version=12"), 400, "invalid-request"),
    Case("min_version in capitals", get(b"key=a&min_version=" + b"A" * 24), 400, "invalid-request"),
    Case("min_version with a newline", get(b"key=a&min_version=" + b"a" * 24 + b"%0A"), 400, "invalid-request"),
    Case("min_version from the future", get(b"key=a&min_version=" + b"f" * 24), 400, "invalid-request"),
    Case("wait that is no number", get(b"key=a&wait=soon"), 400, "invalid-request"),
    Case("negative wait", get(b"key=a&wait=-1"), 400, "invalid-request"),
    Case("wait too long", get(b"key=a&wait=10001"), 400, "invalid-request"),
    Case("huge wait", get(b"key=a&wait=" + b"9" * 400), 400, "invalid-request"),
    Case("read with ack", get(b"key=a&ack=stored"), 400, "invalid-request"),
    Case("unknown ack", put(GOOD, target=b"/kv?ack=maybe"), 400, "invalid-request"),
    Case("key of a PUT in the query", put(GOOD, target=b"/kv?key=a"), 400, "invalid-request"),
    Case("delete without key", request("DELETE", b"/kv"), 400, "invalid-request"),
    Case("health with a parameter", request("GET", b"/health?deep=1"), 400, "invalid-request"),
    # Bodies that are not JSON
    Case("no body", request("PUT", b"/kv"), 400, "invalid-json"),
    Case("empty body", put(b""), 400, "invalid-json"),
    Case("half a body", put(GOOD[:-5]), 400, "invalid-json"),
    Case("text after the body", put(GOOD + b"x"), 400, "invalid-json"),
    Case("two documents", put(GOOD + GOOD), 400, "invalid-json"),
    Case("byte order mark", put(b"\xef\xbb\xbf" + GOOD), 400, "invalid-json"),
    Case("UTF-16", put(GOOD.decode().encode("utf-16")), 400, "invalid-json"),
    Case("form", put(b"key=a&value=b"), 400, "invalid-json"),
    Case("comment", put(b'{"data":{"key":"a",/* */"value":1}}'), 400, "invalid-json"),
    Case("trailing comma", put(b'{"data":{"key":"a","value":1,}}'), 400, "invalid-json"),
    Case("single quotes", put(b"{'data':{'key':'a','value':1}}"), 400, "invalid-json"),
    Case("not a number", value(b"NaN"), 400, "invalid-json"),
    Case("infinity", value(b"Infinity"), 400, "invalid-json"),
    Case("leading zero", value(b"01"), 400, "invalid-json"),
    Case("invalid UTF-8 in the value", value(b'"\xff"'), 400, "invalid-json"),
    Case("invalid UTF-8 in the key", put(b'{"data":{"key":"\xff","value":1}}'), 400, "invalid-json"),
    Case("half a surrogate pair in the value", value(b'"\\ud800"'), 400, "invalid-json"),
    Case("half a surrogate pair in the key", put(b'{"data":{"key":"\\ud800","value":1}}'), 400, "invalid-json"),
    Case("control character", value(b'"a\x01b"'), 400, "invalid-json"),
    Case("unknown escape", value(b'"\\x41"'), 400, "invalid-json"),
    Case("65 levels", value(b"[" * 63 + b"]" * 63), 400, "invalid-json"),
    Case("a hundred thousand levels", value(b"[" * 100_000 + b"]" * 100_000), 400, "invalid-json"),
    Case("a hundred thousand levels, not closed", value(b'{"a":' * 100_000), 400, "invalid-json"),
    Case("the key twice", put(b'{"data":{"key":"a","key":"b","value":1}}'), 400, "invalid-json"),
    Case("the data twice", put(b'{"data":{"key":"a","value":1},"data":{"key":"b","value":1}}'), 400, "invalid-json"),
    Case("the same name, escaped", put(b'{"data":{"key":"a","\\u006bey":"b","value":1}}'), 400, "invalid-json"),
    Case("a member twice inside the value", value(b'{"a":1,"a":2}'), 400, "invalid-json"),
    Case("number beyond a double", value(b"1e400"), 400, "invalid-json"),
    Case("negative number beyond a double, in a list", value(b"[1, -1e999]"), 400, "invalid-json"),
    Case("number of 310 digits", value(b"9" * 310), 400, "invalid-json"),
    Case("half a surrogate pair, alone", value(b'"\\udc00x"'), 400, "invalid-json"),
    Case("half a surrogate pair before a letter", value(b'["\\ud800x"]'), 400, "invalid-json"),
    Case("half a surrogate pair in a name", value(b'{"\\ud800":1}'), 400, "invalid-json"),
    Case("two first halves", value(b'"\\ud800\\ud800"'), 400, "invalid-json"),
    Case("number of five thousand digits", value(b"9" * 5000), 400, "invalid-json"),
    # Bodies that are JSON of a wrong form
    Case("array", put(b"[]"), 400, "invalid-request"),
    Case("null", put(b"null"), 400, "invalid-request"),
    Case("no data", put(b"{}"), 400, "invalid-request"),
    Case("data that is no object", put(b'{"data":[]}'), 400, "invalid-request"),
    Case("no value", put(b'{"data":{"key":"a"}}'), 400, "invalid-request"),
    Case("no key in the body", put(b'{"data":{"value":1}}'), 400, "invalid-request"),
    Case("key that is a number", put(b'{"data":{"key":1,"value":1}}'), 400, "invalid-request"),
    Case("key that is null", put(b'{"data":{"key":null,"value":1}}'), 400, "invalid-request"),
    Case("empty key in the body", put(b'{"data":{"key":"","value":1}}'), 400, "invalid-key"),
    Case("NUL in the key of the body", put(b'{"data":{"key":"\\u0000","value":1}}'), 400, "invalid-key"),
    Case("unknown member", put(b'{"data":{"key":"a","value":1,"color":2}}'), 400, "invalid-request"),
    Case("unknown member outside", put(b'{"data":{"key":"a","value":1},"x":2}'), 400, "invalid-request"),
    Case("ttl of zero", put(b'{"data":{"key":"a","value":1,"ttl":0}}'), 400, "invalid-request"),
    Case("negative ttl", put(b'{"data":{"key":"a","value":1,"ttl":-1}}'), 400, "invalid-request"),
    Case("fraction of a ttl", put(b'{"data":{"key":"a","value":1,"ttl":1.5}}'), 400, "invalid-request"),
    Case("ttl as text", put(b'{"data":{"key":"a","value":1,"ttl":"1"}}'), 400, "invalid-request"),
    Case("huge ttl", put(b'{"data":{"key":"a","value":1,"ttl":99999999999999999999}}'), 400, "invalid-request"),
    Case("true as ttl", put(b'{"data":{"key":"a","value":1,"ttl":true}}'), 400, "invalid-request"),
    # Sizes
    Case(
        "key too long in the body",
        put(b'{"data":{"key":"%s","value":1}}' % (b"k" * (KEY_LIMIT + 1))),
        414,
        "key-too-long",
    ),
    Case("value one byte too large", value(b'"' + b"v" * (VALUE_LIMIT - 1) + b'"'), 413, "value-too-large"),
    Case("body too large", put(b" " * (4 << 20)), 413, "body-too-large"),
    Case(
        "body said to be too large",
        b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        413,
        "body-too-large",
    ),
    Case(
        "chunks without end",
        b"PUT /kv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 40,
        413,
        "body-too-large",
    ),
    # Headers
    Case("compressed body", put(GOOD, b"Content-Encoding: gzip"), 415, "unsupported-encoding"),
    Case("If-Match without quotes", put(GOOD, b"If-Match: " + ETAG.strip(b'"')), 400, "invalid-request"),
    Case("If-Match of another service", put(GOOD, b'If-Match: "abc"'), 400, "invalid-request"),
    Case("If-Match of a key that never was", put(GOOD, b'If-Match: "' + b"0" * 24 + b'"'), 400, "invalid-request"),
    Case("weak If-Match", put(GOOD, b"If-Match: W/" + ETAG), 400, "invalid-request"),
    Case("list in If-Match", put(GOOD, b"If-Match: " + ETAG + b", " + ETAG), 400, "invalid-request"),
    Case("two conditions", put(GOOD, b"If-Match: *", b"If-None-Match: *"), 400, "invalid-request"),
    Case("write with If-None-Match of a version", put(GOOD, b"If-None-Match: " + ETAG), 400, "invalid-request"),
    Case("delete with a bad condition", request("DELETE", b"/kv?key=a", None, b"If-Match: x"), 400, "invalid-request"),
    Case("condition that fails", put(b'{"data":{"key":"never","value":1}}', b"If-Match: *"), 412, "condition-failed"),
    Case("part of a value", put(GOOD, b"Content-Range: bytes 6-10/11"), 400, "invalid-request"),
    Case("read with If-None-Match that is none", get(b"/kv?key=a", b"If-None-Match: x"), 400, "invalid-request"),
    Case("too many header fields", put(GOOD, *[b"a:"] * 101), 431, "header-too-large"),
    Case(
        "too many header fields in an endless head", b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 1000, 431, "header-too-large"
    ),
    Case(
        "a length of five thousand digits",
        request("PUT", b"/kv/a", None, b"Content-Length: " + b"0" * 5000),
        400,
        "malformed-http",
    ),
    *(
        Case(
            f"chunks in HTTP/{version}",
            b"PUT /kv HTTP/%s\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % version.encode(),
            400,
            "malformed-http",
        )
        for version in ("0.9", "1.0", "2.0")
    ),
    Case("a path that is longer than any", request("GET", b"/health/live" + b"/" * 2000), 404, "no-such-resource"),
    # Requests that end early
    Case("connection closed inside the head", b"GET /kv?key=a HT", 0, "", half=True),
    Case("connection closed inside the body", put(GOOD)[:-5], 0, "", half=True),
]


def exchange(node: NodeProcess, case: Case) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send the bytes on a connection of their own and read one answer; status 0: none came before the end."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        try:
            connection.sendall(case.sent)
            if case.half:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent; the answer may be there all the same
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """Read one answer with a content length."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65_536)
        if not chunk:
            return 0, {}, received
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(b":") for line in lines)}
    while len(body) < int(headers[b"content-length"]):
        chunk = connection.recv(65_536)
        assert chunk, "the answer ends before its length"
        body += chunk
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_gets_its_problem_and_the_next_request_is_served(embedded: NodeProcess, case: Case) -> None:
    """Each bad request is answered with its status and problem type, and the same process serves the next one."""
    status, headers, body = exchange(embedded, case)
    assert status == case.status, body
    if case.problem:
        assert headers[b"content-type"] == b"application/problem+json"
        document = json.loads(body)
        assert document["type"] == f"/problems/{case.problem}"
        assert document["status"] == case.status
        assert document["title"]
        assert document["detail"]
    alive = exchange(embedded, Case("", request("GET", b"/health/live"), 200, ""))
    assert alive[0] == 200


def test_there_are_enough_cases_with_names_of_their_own() -> None:
    """The table has at least sixty cases, each named once."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60
