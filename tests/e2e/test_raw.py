"""The raw form of the API: any key in the path, any bytes in the body."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx
import pytest

from tests.e2e.endpoint import Endpoint, is_nginx
from tests.e2e.test_api import KEYS, get, problem_of, put

MEDIA_TYPES = [
    "image/png",
    "text/plain; charset=utf-8",
    'multipart/mixed; boundary="a b;\\"c"; x=y',
    "application/vnd.api+json",
    "application/json; charset=utf-16",
    "TEXT/HTML",
    "text/plain;",
    "a/" + "b" * 253,
]
BAD_MEDIA_TYPES = [
    "text",
    "text/",
    "/plain",
    "text/plain; a",
    "text/plain; a=",
    'text/plain; a="b',
    "a/" + "b" * 254,
    "é/a",
]
UNREADABLE = re.compile("%00|%(?![0-9A-Fa-f]{2})")
"""What NGINX refuses in a path."""
JSON_TYPES = ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"']


def asked(
    node: Endpoint, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    """Send a target as it is written here: other clients tidy it up first."""
    with closing(HTTPConnection("127.0.0.1", node.port, timeout=30)) as plain:
        plain.request(method, target, body, headers or {})
        answer = plain.getresponse()
        return answer, answer.read()


def escaped(key: str) -> str:
    """Percent-encode every byte of a key."""
    return "".join(f"%{byte:02X}" for byte in key.encode())


@pytest.mark.parametrize("name", [*KEYS, "//", "/", "a//", "%2F", "?", "#", "..", "kv/kv"], ids=ascii)
def test_any_key_is_written_read_and_deleted_in_both_forms(node: Endpoint, client: httpx.Client, name: str) -> None:
    """Every key can stand in the path when it is percent-encoded, and is the same key in the other form."""
    key = f"{name} raw"
    target = f"/kv/{escaped(key)}"
    written, body = asked(node, "PUT", target + "?ack=stored", b"1", {"Content-Type": "application/json"})
    assert (written.status, json.loads(body)["data"]["key"]) == (200, key)
    assert asked(node, "GET", target)[1] == b"1"
    assert get(client, key).json() == {"data": {"value": 1}}
    assert asked(node, "DELETE", target + "?ack=stored")[0].status == 200
    assert get(client, key).status_code == 404
    put(client, key, 2)
    assert asked(node, "GET", target)[1] == b"2"


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("//", "//"),
        ("a//b", "a//b"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a/b/", "a/b/"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%2541", "%41"),
        ("a/../b", "a/../b"),
        ("./a", "./a"),
        ("a;b=c,d@e:f&g=h", "a;b=c,d@e:f&g=h"),
        ("a%3Fb", "a?b"),
        ("%E9%8D%B5", "鍵"),
        ("kv/a", "kv/a"),
    ],
)
def test_the_key_is_what_stands_behind_the_prefix(node: Endpoint, client: httpx.Client, target: str, key: str) -> None:
    """Nothing but percent-encoding is taken from a path: slashes stay, a plus is a plus, dots are not followed."""
    written, body = asked(node, "PUT", f"/kv/{target}?ack=stored", b"here", {"Content-Type": "text/plain"})
    assert (written.status, json.loads(body)["data"]["key"]) == (200, key)
    assert get(client, key).status_code == 406
    assert asked(node, "GET", f"/kv/{escaped(key)}")[1] == b"here"
    assert asked(node, "DELETE", f"/kv/{target}?ack=stored")[0].status == 200


@pytest.mark.parametrize(
    ("target", "status", "problem"),
    [
        ("/kv/", 400, "invalid-key"),
        ("/kv/%00", 400, "invalid-key"),
        ("/kv/a%00b", 400, "invalid-key"),
        ("/kv/%", 400, "invalid-request"),
        ("/kv/%4", 400, "invalid-request"),
        ("/kv/%zz", 400, "invalid-request"),
        ("/kv/%ff", 400, "invalid-request"),
        ("/kv/%ed%a0%80", 400, "invalid-request"),
        ("/kv/%c0%af", 400, "invalid-request"),
        ("/kv/" + "k" * 65_537, 414, "key-too-long"),
        ("/kv/a?key=b", 400, "invalid-request"),
        ("//kv/a", 404, "no-such-resource"),
        ("/kv%2Fa", 404, "no-such-resource"),
        ("/%6Bv/a", 404, "no-such-resource"),
    ],
    ids=lambda given: str(given)[:20],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_is_no_key_is_refused(node: Endpoint, method: str, target: str, status: int, problem: str) -> None:
    """What cannot be a key, and what is no way to write the path of one, gets its problem with every method.

    NGINX reads percent-encoding before any node does: what is none, and NUL, it refuses as it does all that is no HTTP.
    """
    if is_nginx(node) and UNREADABLE.search(target):
        problem = "malformed-http"
    answer, body = asked(node, method, target, b"x" if method == "PUT" else None)
    assert (answer.status, json.loads(body)["type"]) == (status, f"/problems/{problem}")


@pytest.mark.parametrize(
    "value", [b"", b"\x00", bytes(range(256)), b"\r\n\r\n", b"\xff" * (1 << 20)], ids=lambda value: str(len(value))
)
def test_any_bytes_come_back(client: httpx.Client, key: str, value: bytes) -> None:
    """Every value of up to the limit comes back byte for byte, the empty one included, from the store and from the cache."""
    client.put(f"/kv/{key}", content=value, params={"ack": "stored"})
    for headers in ({"Cache-Control": "no-cache"}, {}, {}):
        answer = client.get(f"/kv/{key}", headers=headers)
        assert (answer.status_code, answer.content) == (200, value)
        assert answer.headers["content-length"] == str(len(value))
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("media_type", MEDIA_TYPES, ids=lambda text: text[:30])
def test_the_media_type_comes_back(client: httpx.Client, key: str, media_type: str) -> None:
    """The media type is kept as it was sent; what is not JSON is not shown inside of JSON."""
    client.put(f"/kv/{key}", content=b"{", headers={"Content-Type": media_type}, params={"ack": "stored"})
    assert client.get(f"/kv/{key}").headers["content-type"] == media_type
    refused = get(client, key)
    assert (refused.status_code, problem_of(refused)) == (406, "not-json")


@pytest.mark.parametrize("media_type", BAD_MEDIA_TYPES, ids=lambda text: ascii(text)[:30])
def test_what_is_no_media_type_is_refused(client: httpx.Client, key: str, media_type: str) -> None:
    """A Content-Type that readers could not use is refused, and nothing is written."""
    headers = [(b"Content-Type", media_type.encode())]
    answer = client.put(f"/kv/{key}", content=b"x", headers=headers)
    assert (answer.status_code, problem_of(answer)) == (400, "invalid-request")
    assert client.get(f"/kv/{key}").status_code == 404


def test_a_media_type_is_checked_at_once(client: httpx.Client, key: str) -> None:
    """A Content-Type made to be tried in very many ways is refused like any other."""
    for hard in ("a/b" + ";  " * 80 + "=", "a/b;c=" + '"' + "\\a" * 120, "a" * 250):
        assert client.put(f"/kv/{key}", content=b"x", headers={"Content-Type": hard}, timeout=5).status_code == 400


@pytest.mark.parametrize("media_type", JSON_TYPES)
def test_json_is_the_same_in_both_forms(client: httpx.Client, key: str, media_type: str) -> None:
    """A value written as `application/json` is shown in the envelope as it was sent, and has that very media type."""
    raw = b' {"a":[1.0e0, null]}\n'
    client.put(f"/kv/{key}", content=raw, headers={"Content-Type": media_type}, params={"ack": "stored"})
    assert get(client, key).content == b'{"data":{"value":' + raw + b"}}"
    assert client.get(f"/kv/{key}").headers["content-type"] == "application/json"
    put(client, key, {"b": 2})
    answer = client.get(f"/kv/{key}")
    assert (answer.json(), answer.headers["content-type"]) == ({"b": 2}, "application/json")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"1 2",
        b"NaN",
        b"1e999",
        b"{'a':1}",
        b'{"a":1,"a":2}',
        b'"\xff"',
        b'"\\ud800"',
        b"\xef\xbb\xbf1",
        b"[" * 63 + b"]" * 63,
        b"1}}",
    ],
    ids=lambda raw: ascii(raw)[:20],
)
def test_a_value_that_is_not_json_is_not_taken_as_json(client: httpx.Client, key: str, raw: bytes) -> None:
    """`application/json` is a promise that the body keeps by the rules of the other form, or the write is refused."""
    answer = client.put(f"/kv/{key}", content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, problem_of(answer)) == (400, "invalid-json")
    assert client.get(f"/kv/{key}").status_code == 404
    other_form = client.put("/kv", content=b'{"data":{"key":%s,"value":%s}}' % (json.dumps(key).encode(), raw))
    assert other_form.status_code == 400


def test_the_deepest_json_is_the_same_in_both_forms(client: httpx.Client, key: str) -> None:
    """What is nested as deep as the other form takes it is taken."""
    raw = b"[" * 62 + b"]" * 62
    headers = {"Content-Type": "application/json"}
    assert client.put(f"/kv/{key}", content=raw, headers=headers, params={"ack": "stored"}).status_code == 200
    assert put(client, key, get(client, key).json()["data"]["value"]).status_code == 200


def test_a_body_beyond_the_limit_is_refused(client: httpx.Client, key: str) -> None:
    """One byte more than a value may have is refused as in the JSON form, whether its length is told or not."""
    value = b"v" * ((1 << 20) + 1)
    for content in (value, iter([value])):
        answer = client.put(f"/kv/{key}", content=content)
        assert (answer.status_code, problem_of(answer)) == (413, "value-too-large")
        assert (answer.json()["limit_bytes"], answer.headers["connection"]) == (1 << 20, "close")
    assert client.get(f"/kv/{key}").status_code == 404


def test_an_encoded_body_is_refused(client: httpx.Client, key: str) -> None:
    """`Content-Encoding` is not kept, so a body that has one is not taken."""
    answer = client.put(f"/kv/{key}", content=b"x", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, problem_of(answer)) == (415, "unsupported-encoding")


def test_a_browser_that_opens_a_value_runs_nothing(client: httpx.Client, key: str) -> None:
    """A value is shown with its own type, without guessing, and without scripts, forms or access to what else is here."""
    page = b"<script>alert(document.cookie)</script>"
    client.put(f"/kv/{key}", content=page, headers={"Content-Type": "text/html"}, params={"ack": "stored"})
    headers = client.get(f"/kv/{key}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"


def test_conditions_are_those_of_the_other_form(client: httpx.Client, key: str) -> None:
    """Create once, overwrite a version once, delete a version once: 201, 200 and 412 as in the other form."""
    path = f"/kv/{key}"
    create = {"If-None-Match": "*"}
    created = client.put(path, content=b"1", headers=create)
    etag = created.headers["etag"]
    assert (created.status_code, created.json()["detail"]) == (201, "stored")
    assert client.put(path, content=b"1", headers=create).status_code == 412
    won = client.put(path, content=b"2", headers={"If-Match": etag})
    lost = client.put(path, content=b"3", headers={"If-Match": etag})
    assert (won.status_code, lost.status_code, problem_of(lost)) == (200, 412, "condition-failed")
    assert lost.headers["etag"] == won.headers["etag"] == client.get(path).headers["etag"]
    assert client.delete(path, headers={"If-Match": etag}).status_code == 412
    assert client.delete(path, headers={"If-Match": won.headers["etag"]}).status_code == 200
    assert client.delete(path, headers={"If-Match": "*"}).status_code == 412


def test_a_reader_that_has_the_version_gets_no_body(client: httpx.Client, key: str) -> None:
    """`If-None-Match` with the ETag of the key, or with `*`, is answered with 304 and no body, to HEAD too."""
    path = f"/kv/{key}"
    etag = client.put(path, content=b"1", params={"ack": "stored"}).headers["etag"]
    for method in ("GET", "HEAD"):
        same = client.request(method, path, headers={"If-None-Match": f'"x", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        assert "last-modified" in same.headers
    assert client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.get(path, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get(f"{path} missing", headers={"If-None-Match": "*"}).status_code == 404


def test_a_time_to_live_is_shown_and_kept(client: httpx.Client, key: str) -> None:
    """`ttl` in the query is when the key goes; `Expires-At` tells the moment; a write without one takes it away."""
    path = f"/kv/{key}"
    before = datetime.now(UTC)
    client.put(path, content=b"1", params={"ttl": 3600, "ack": "stored"})
    for answer in (client.get(path), client.head(path)):
        text = answer.headers["expires-at"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text)
        lives_for = datetime.fromisoformat(text) - before
        assert timedelta(seconds=3599) < lives_for < timedelta(seconds=3660)
    client.put(path, content=b"1", params={"ack": "stored"})
    assert "expires-at" not in client.get(path).headers
    client.put(path, content=b"1", params={"ttl": 1, "ack": "stored"})
    while client.get(path).status_code == 200:
        pass
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("ttl", ["0", "-1", "1.5", "x", "", "1_000", str(10**12)])
def test_a_time_to_live_that_is_none_is_refused(client: httpx.Client, key: str, ttl: str) -> None:
    """A time to live is whole seconds from 1, and is never ignored."""
    answer = client.put(f"/kv/{key}", content=b"1", params={"ttl": ttl})
    assert (answer.status_code, problem_of(answer)) == (400, "invalid-request")


def test_a_read_sees_at_least_the_version_that_it_asks_for(client: httpx.Client, key: str) -> None:
    """`min_version` of one's own write is answered with it, and one that does not come with 503."""
    path = f"/kv/{key}"
    version = client.put(path, content=b"1", params={"ack": "accepted"}).json()["data"]["version"]
    query: dict[str, Any] = {"min_version": version, "wait": 5000}
    assert client.get(path, params=query, headers={"Cache-Control": "no-cache"}).content == b"1"
    later = client.put(path + "-other", content=b"1").json()["data"]["version"]
    late = client.get(path, params={"min_version": later, "wait": 20})
    assert (late.status_code, problem_of(late)) == (503, "version-not-reached")
