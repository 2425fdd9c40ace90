"""The HTTP API as a client sees it: the same tests on every profile."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.e2e.endpoint import Endpoint, is_nginx

KEYS = [
    "a",
    " ",
    "with space",
    "a/b//c/",
    "../..",
    "100%",
    "%41",
    "a+b",
    "a&b=c?d#e",
    "quote\"'`",
    "back\\slash",
    "_%*?[]",
    "\x01\x7f",
    "ключ",
    "鍵",
    "🗝️",
    "e\u0301",
    "\u00e9",
    "\U0010ffff",
]
VALUES: list[Any] = [
    "text",
    "",
    None,
    True,
    0,
    -1.5,
    12345678901234567890,
    [],
    {},
    {"a": [1, {"b": None}]},
    "\u0000 \U0001f600 \u2028 </script>",
    "x" * 100_000,
]


def put(client: httpx.Client, key: str, value: Any, /, ack: str = "stored", **more: Any) -> httpx.Response:
    """Write a value; `ttl` goes into the body, the rest into the request."""
    data = {"key": key, "value": value} | ({"ttl": more.pop("ttl")} if "ttl" in more else {})
    return client.put("/kv", json={"data": data}, params={"ack": ack}, **more)


def delete(client: httpx.Client, key: str, /, **more: Any) -> httpx.Response:
    """Delete a key in the store."""
    return client.delete("/kv", params={"key": key, "ack": "stored"}, **more)


def get(
    client: httpx.Client, key: str, /, headers: dict[str, str] | None = None, **params: str | int
) -> httpx.Response:
    """Read a value."""
    return client.get("/kv", params={"key": key, **params}, headers=headers)


def problem_of(response: httpx.Response) -> str:
    """Return the name of the problem that is answered."""
    assert response.headers["content-type"] == "application/problem+json"
    kind: str = response.json()["type"]
    return kind.removeprefix("/problems/")


@pytest.mark.parametrize("name", KEYS, ids=ascii)
def test_any_key_is_written_read_and_deleted(client: httpx.Client, name: str) -> None:
    """Every key of valid UTF-8 without NUL can be written, read and deleted, and no other key is touched."""
    key = f"any key {name}"
    written = put(client, key, key)
    assert (written.status_code, written.json()["detail"]) == (200, "stored")
    assert written.json()["data"]["key"] == key
    assert get(client, key).json() == {"data": {"value": key}}
    assert delete(client, key).status_code == 200
    gone = get(client, key)
    assert (gone.status_code, problem_of(gone)) == (404, "key-not-found")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_any_json_value_comes_back(client: httpx.Client, key: str, value: Any) -> None:
    """Every JSON value, null included, comes back as it was."""
    put(client, key, value)
    answer = get(client, key)
    assert (answer.status_code, answer.json()) == (200, {"data": {"value": value}})


def test_a_value_is_kept_byte_for_byte(client: httpx.Client, key: str) -> None:
    """Numbers, escapes, order and white space inside a value stay as they were sent."""
    raw = rb'{ "b" : 1.0e0, "a":[ 0.10000000000000000001 ,1E5 ] , "s":"\u00e9\/" }'
    client.put("/kv", content=b'{"data":{"value":%s,"key":%s}}' % (raw, json.dumps(key).encode()))
    assert get(client, key).content == b'{"data":{"value":' + raw + b"}}"


def test_the_largest_value_fits(client: httpx.Client, key: str) -> None:
    """A value of exactly the limit, 1 MiB of JSON, is taken and comes back."""
    value = "v" * ((1 << 20) - 2)
    assert put(client, key, value).status_code == 200
    assert get(client, key).json()["data"]["value"] == value


@pytest.mark.parametrize("letter", ["k", "\x01", "é", "🗝"], ids=ascii)
def test_the_longest_key_fits(node: Endpoint, client: httpx.Client, letter: str) -> None:
    """A key as long as the node says that one may be is taken, in a body and percent-encoded in a query."""
    key = letter * (client.get("/health").json()["limits"]["max_key_bytes"] // len(letter.encode()))
    assert put(client, key, 1).status_code == 200
    with closing(HTTPConnection("127.0.0.1", node.port, timeout=30)) as plain:
        for method, options, status in (("GET", "", 200), ("DELETE", "ack=stored&", 200), ("GET", "", 404)):
            plain.request(method, f"/kv?{options}key=" + "".join(f"%{byte:02x}" for byte in key.encode()))
            answer = plain.getresponse()
            answer.read()
            assert answer.status == status


def test_a_body_is_read_as_json_whatever_its_type(client: httpx.Client, key: str) -> None:
    """What `curl -d` sends without further flags is taken."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = json.dumps({"data": {"key": key, "value": 1}})
    assert client.put("/kv", content=body, headers=headers, params={"ack": "stored"}).status_code == 200


def test_an_answer_carries_the_version_as_etag(client: httpx.Client, key: str) -> None:
    """The version of a write is its ETag, it is what a read shows, and a later one is higher."""
    first, second = put(client, key, 1), put(client, key, 2)
    assert first.headers["etag"] == f'"{first.json()["data"]["version"]}"'
    assert second.headers["etag"] > first.headers["etag"]
    assert get(client, key).headers["etag"] == second.headers["etag"]


def test_deleting_what_is_not_there_succeeds(client: httpx.Client, key: str) -> None:
    """A delete is idempotent, and the version that it leaves is above all others."""
    first = delete(client, key)
    second = delete(client, key)
    assert first.status_code == second.status_code == 200
    assert second.headers["etag"] > first.headers["etag"]


def test_a_condition_on_a_version_holds_once(client: httpx.Client, key: str) -> None:
    """Of two writes on one ETag the first wins; the second is told the ETag that the key has now."""
    etag = put(client, key, 1).headers["etag"]
    won = put(client, key, 2, headers={"If-Match": etag})
    lost = put(client, key, 3, headers={"If-Match": etag})
    assert (won.status_code, lost.status_code, problem_of(lost)) == (200, 412, "condition-failed")
    assert lost.headers["etag"] == won.headers["etag"]
    assert get(client, key).json()["data"]["value"] == 2


def test_a_key_is_created_once(client: httpx.Client, key: str) -> None:
    """`If-None-Match: *` creates a key, does not overwrite it, and creates it again after a delete, at a new version."""
    created = put(client, key, 1, headers={"If-None-Match": "*"})
    refused = put(client, key, 2, headers={"If-None-Match": "*"})
    assert (created.status_code, refused.status_code) == (201, 412)
    delete(client, key)
    again = put(client, key, 3, headers={"If-None-Match": "*"})
    assert again.status_code == 201
    assert again.headers["etag"] > created.headers["etag"]


def test_a_condition_on_existence(client: httpx.Client, key: str) -> None:
    """`If-Match: *` writes to a key that exists only; a key that does not exist has no ETag to tell."""
    refused = put(client, key, 1, headers={"If-Match": "*"})
    assert refused.status_code == 412
    assert "etag" not in refused.headers
    put(client, key, 1)
    assert put(client, key, 2, headers={"If-Match": "*"}).status_code == 200
    assert delete(client, key, headers={"If-Match": "*"}).status_code == 200
    assert delete(client, key, headers={"If-Match": "*"}).status_code == 412


def test_a_reader_that_has_the_version_gets_no_body(client: httpx.Client, key: str) -> None:
    """`If-None-Match` with the ETag of the key is answered with 304, with another one with the value."""
    etag = put(client, key, 1).headers["etag"]
    same = get(client, key, headers={"If-None-Match": f'"x", W/{etag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    put(client, key, 2)
    assert get(client, key, headers={"If-None-Match": etag}).status_code == 200


def test_an_expired_key_reads_as_missing(client: httpx.Client, key: str) -> None:
    """A key with a time to live is there until then and missing afterwards, from cache and store; no write after it inherits the limit."""
    etag = put(client, key, 1, ttl=1).headers["etag"]
    assert get(client, key).status_code == 200
    while get(client, key).status_code == 200:
        pass
    assert put(client, key, 2, headers={"If-Match": etag}).status_code == 412
    assert get(client, key, headers={"Cache-Control": "no-cache"}).status_code == 404
    assert put(client, key, 2, headers={"If-None-Match": "*"}).status_code == 201
    put(client, key, 3, ttl=1000)
    put(client, key, 4)
    assert get(client, key).json()["data"]["value"] == 4


def test_a_read_sees_at_least_the_version_that_it_asks_for(client: httpx.Client, key: str) -> None:
    """`min_version` of one's own write is answered with it, whatever the write's acknowledgement meant."""
    for number in range(20):
        ack = "accepted" if number % 2 else "stored"
        version = put(client, key, number, ack=ack).json()["data"]["version"]
        for headers in ({}, {"Cache-Control": "no-cache"}):
            answer = get(client, key, min_version=version, wait=5000, headers=headers)
            assert answer.json()["data"]["value"] == number


def test_a_version_that_does_not_come_is_not_replaced_by_an_older_one(client: httpx.Client, key: str) -> None:
    """A read whose `min_version` is not reached in time gets 503 with Retry-After, not the older value."""
    put(client, key, 1)
    later = put(client, key + " other", 1).json()["data"]["version"]
    answer = get(client, key, min_version=later, wait=20)
    assert (answer.status_code, problem_of(answer)) == (503, "version-not-reached")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["outcome"] == "not-applied"


def test_a_read_tells_how_old_the_value_is_and_how_long_it_stays(client: httpx.Client, key: str) -> None:
    """`Last-Modified` is the moment of the write; `Expires-At` that of its end, where it has one; 304 and 406 have both too."""
    earliest = datetime.now(UTC).replace(microsecond=0)
    etag = put(client, key, 1, ttl=100).headers["etag"]
    latest = datetime.now(UTC)
    client.put(f"/kv/{key}.txt", content=b"text", params={"ttl": 100, "ack": "stored"})
    for answer in (
        get(client, key),
        get(client, key, headers={"If-None-Match": etag}),
        get(client, f"{key}.txt"),
        client.get(f"/kv/{key}"),
    ):
        modified = parsedate_to_datetime(answer.headers["last-modified"])
        assert modified <= parsedate_to_datetime(answer.headers["date"])
        expires = datetime.fromisoformat(answer.headers["expires-at"])
        assert earliest <= modified <= datetime.now(UTC)
        assert earliest + timedelta(seconds=100) <= expires <= latest + timedelta(seconds=130)
    put(client, key, 1)
    assert "expires-at" not in get(client, key).headers


def test_every_answer_to_a_read_is_to_be_asked_for_again(client: httpx.Client, key: str) -> None:
    """`Cache-Control: no-cache` is on what is found, missing, unchanged or of another type: no cache between may answer by itself."""
    etag = put(client, key, 1).headers["etag"]
    client.put(f"/kv/{key}.txt", content=b"text", params={"ack": "stored"})
    answers = {
        200: get(client, key),
        304: get(client, key, headers={"If-None-Match": etag}),
        404: get(client, f"{key} missing"),
        406: get(client, f"{key}.txt"),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-cache")
        assert "cache-status" in answer.headers
    assert client.get(f"/kv/{key}").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/kv", "/kv/"], ids=["JSON", "raw"])
def test_a_condition_that_is_not_honoured_is_refused(client: httpx.Client, key: str, path: str) -> None:
    """What would be ignored is refused: a write on a date, a read on `If-Match`, a name for a read. Only `If-Modified-Since` may be."""
    date = {"If-Modified-Since": "Mon, 23 Nov 2026 12:00:00 GMT"}
    undate = {"If-Unmodified-Since": "Mon, 23 Nov 2026 12:00:00 GMT"}

    def ask(method: str, headers: dict[str, str]) -> httpx.Response:
        if path == "/kv/":
            return client.request(method, path + key, content=b"1" if method == "PUT" else None, headers=headers)
        if method == "PUT":
            return put(client, key, 1, headers=headers)
        return client.request(method, path, params={"key": key}, headers=headers)

    for method, headers in [
        ("GET", undate),
        ("HEAD", undate),
        ("GET", {"If-Match": "*"}),
        ("GET", {"Idempotency-Key": "x"}),
        ("PUT", date),
        ("PUT", undate),
        ("DELETE", date),
        ("DELETE", undate),
        ("PUT", {"If-Match": "*", "If-None-Match": "*"}),
        ("DELETE", {"If-Match": '"1"'}),
    ]:
        assert ask(method, headers).status_code == 400
    assert ask("GET", {}).status_code == 404
    put(client, key, 1)
    assert ask("GET", {"If-Modified-Since": "Mon, 23 Nov 2099 12:00:00 GMT"}).status_code == 200


def test_accepted_and_stored(node: Endpoint, client: httpx.Client, key: str) -> None:
    """`ack=accepted` is answered with 202 where a queue accepts, and with more than was asked for where there is none."""
    accepted = put(client, key, 1, ack="accepted")
    stored = put(client, key, 2)
    has_queue = "queue" in client.get("/health").json()["components"]
    assert (accepted.status_code, accepted.json()["detail"]) == ((202, "queued") if has_queue else (200, "stored"))
    assert (stored.status_code, stored.json()["detail"]) == (200, "stored")
    assert get(client, key).json()["data"]["value"] == 2


def test_the_answer_says_where_it_came_from(client: httpx.Client, key: str) -> None:
    """The second read of a key, and of a key that does not exist, is a hit."""
    get(client, key)
    answer = get(client, key)
    assert (answer.status_code, answer.headers["cache-status"]) == (404, "kvcore; hit")
    for asked in ("no-cache", "No-Cache", "max-age=0, no-cache"):
        assert get(client, key, headers={"Cache-Control": asked}).headers["cache-status"] == "kvcore; fwd=bypass"
    assert get(client, key, headers={"Cache-Control": "no-store"}).headers["cache-status"] == "kvcore; hit"


def test_a_request_id_is_kept_or_made(node: Endpoint, client: httpx.Client) -> None:
    """A request id comes back as it was sent, but NGINX gives its own; one that is no such thing is replaced; each made here is new."""
    given = client.get("/health/live", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"]
    assert (given == "mine-1") is not is_nginx(node)
    made = {client.get("/health/live", headers={"X-Request-Id": "not one"}).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert "not one" not in made
    assert client.get("/nothing").headers["x-request-id"]


def test_health_shows_the_tiers_and_the_limits(client: httpx.Client) -> None:
    """The health names each tier with its backend, and the limits in force."""
    health = client.get("/health").json()
    assert health["status"] == "healthy"
    assert {"cache", "store"} <= set(health["components"])
    assert all(tier["status"] == "up" and tier["breaker"] == "closed" for tier in health["components"].values())
    server = health["components"]["store"]["server"]
    max_key_bytes = 2600 if server.startswith("PostgreSQL") else 65_536
    assert health["limits"] == {"max_key_bytes": max_key_bytes, "max_value_bytes": 1 << 20}
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.get("/health/live").json() == {"status": "alive"}


@pytest.mark.one_process
def test_the_cache_tells_its_numbers(client: httpx.Client, key: str) -> None:
    """`/cache/stats` counts what is there and what was asked, for the backend and for the node, with rates in percent."""
    put(client, key, 1)
    before = client.get("/cache/stats").json()
    for _ in range(4):
        get(client, key)
    stats = client.get("/cache/stats").json()
    sizes = {"keys_count", "max_keys_limit", "memory_used_bytes", "max_memory_bytes", "evictions", "node"}
    rates = {"cache_hits", "cache_misses", "hit_rate"}
    assert (stats.keys(), stats["node"].keys()) == (sizes | rates, rates)
    assert stats["keys_count"] >= 1
    assert stats["memory_used_bytes"] > 0
    assert stats["cache_hits"] >= before["cache_hits"] + 3
    assert stats["node"]["cache_hits"] >= before["node"]["cache_hits"] + 3
    for counted in (stats, stats["node"]):
        asked = counted["cache_hits"] + counted["cache_misses"]
        assert counted["hit_rate"] == pytest.approx(100 * counted["cache_hits"] / asked, abs=0.01)


@pytest.mark.one_process
def test_metrics_count_requests_and_cache_hits(client: httpx.Client, key: str) -> None:
    """The metrics show requests by operation and status, and what the cache had."""

    def sample(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)

    requests = 'kvcore_http_request_duration_seconds_count{operation="getValue",status="404"}'
    hits = 'kvcore_cache_reads_total{result="negative"}'
    before = sample(requests), sample(hits)
    get(client, key)
    get(client, key)
    assert sample(requests) == before[0] + 2
    assert sample(hits) >= before[1] + 1


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_no_page_with_buttons_is_shown_in_a_frame_of_another(client: httpx.Client, page: str) -> None:
    """Whoever visits a foreign page is not led to press what sends requests to a node."""
    assert "frame-ancestors 'none'" in client.get(page, follow_redirects=True).headers["content-security-policy"]


def test_the_documentation_needs_no_other_host(client: httpx.Client) -> None:
    """The pages load what they need from this node, and the schema describes every operation on keys."""
    for page in ("/", "/docs"):
        answer = client.get(page, follow_redirects=True)
        assert answer.status_code == 200
        assert "https://" not in answer.text
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        assert client.get(f"/docs/assets/{asset}").status_code == 200
    schema = client.get("/docs/openapi.json").json()
    assert set(schema["paths"]["/kv"]) == {"get", "put", "delete"}
    assert {"200", "400", "404", "503"} <= set(schema["paths"]["/kv"]["get"]["responses"])
