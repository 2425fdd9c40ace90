"""Listing keys and deleting them by prefix, as a client sees it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

NAMES = [
    "",
    " ",
    "%41",
    "%",
    "_",
    "\\",
    "//a",
    "/",
    "a",
    "a/b",
    "a//b",
    "ab",
    "é",
    "e\u0301",
    "鍵",
    "🗝️",
    "\x01",
    "\U0010ffff",
]


def put(client: httpx.Client, key: str, value: Any = 1, **data: Any) -> dict[str, Any]:
    """Write a value to the store; return what the answer says."""
    answer = client.put("/kv", json={"data": {"key": key, "value": value, **data}}, params={"ack": "stored"})
    assert answer.status_code == 200
    return answer.json()["data"]  # type: ignore[no-any-return]  # JSON


def pages(client: httpx.Client, prefix: str, **params: str | int) -> Iterator[list[dict[str, Any]]]:
    """Give the pages of a listing."""
    cursor: dict[str, str] = {}
    while True:
        answer = client.get("/keys", params={"prefix": prefix, **params, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page["data"]
        if page["cursor"] is None:
            return
        cursor = {"cursor": page["cursor"]}


def keys(client: httpx.Client, prefix: str, **params: str | int) -> list[str]:
    """Return all keys of a prefix."""
    return [line["key"] for page in pages(client, prefix, **params) for line in page]


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_keys_are_listed_in_byte_order(client: httpx.Client, key: str, limit: int) -> None:
    """Every key that begins with the prefix is listed once, in byte order of UTF-8, whatever the size of the pages."""
    names = [f"{key}/{name}" for name in NAMES]
    for name in [*names, f"{key}0", key[:-1]]:
        put(client, name)
    assert keys(client, f"{key}/", limit=limit) == sorted(names, key=str.encode)


def test_a_line_says_what_is_known_without_the_value(client: httpx.Client, key: str) -> None:
    """Version, size, media type and time of expiry are those of the entry; without a TTL there is none."""
    first, second = put(client, f"{key}/1", "text"), put(client, f"{key}/2", 2, ttl=60)
    ((one, two),) = pages(client, f"{key}/")
    told = {"size": 6, "media_type": "application/json", "expires_at": None}
    assert one == {"key": f"{key}/1", "version": first["version"]} | told
    assert two["version"] == second["version"]
    assert two["expires_at"].endswith("Z")


def test_values_are_shown_on_demand(client: httpx.Client, key: str) -> None:
    """With `values` a line has the value byte for byte where it is JSON, and in base64 where it is not."""
    raw = b'{ "b" : 1.0e0, "b2": 0.10000000000000000001 }'
    client.put("/kv", content=b'{"data":{"key":"%s/1","value":%s}}' % (key.encode(), raw), params={"ack": "stored"})
    client.put(f"/kv/{key}/2", content=b"\x00\xff", headers={"content-type": "image/png"}, params={"ack": "stored"})
    answer = client.get("/keys", params={"prefix": f"{key}/", "values": "true"})
    assert b'"value":' + raw in answer.content
    line = answer.json()["data"][1]
    assert (line["media_type"], base64.b64decode(line["value_base64"])) == ("image/png", b"\x00\xff")


def test_what_is_deleted_or_has_expired_is_not_listed(client: httpx.Client, key: str) -> None:
    """A listing shows keys that exist now."""
    for name in ("a", "b"):
        put(client, f"{key}/{name}")
    client.delete("/kv", params={"key": f"{key}/a", "ack": "stored"})
    assert keys(client, f"{key}/") == [f"{key}/b"]


def test_a_cursor_outlives_what_happens_to_its_key(client: httpx.Client, key: str) -> None:
    """Deleting the key that a page ended with, and writing before and behind it, moves nothing."""
    for number in range(4):
        put(client, f"{key}/{number}")
    first = client.get("/keys", params={"prefix": f"{key}/", "limit": 2}).json()
    client.delete("/kv", params={"key": f"{key}/1", "ack": "stored"})
    put(client, f"{key}/0x")
    put(client, f"{key}/2x")
    rest = client.get("/keys", params={"prefix": f"{key}/", "cursor": first["cursor"]}).json()
    assert [line["key"] for line in rest["data"]] == [f"{key}/{name}" for name in ("2", "2x", "3")]


def test_keys_that_exist_throughout_are_seen_once(client: httpx.Client, key: str) -> None:
    """While other keys are written and deleted between them, a listing in small pages has each of these exactly once."""
    lasting = [f"{key}/{number:02}" for number in range(30)]
    for name in lasting:
        put(client, name)
    done = threading.Event()

    def disturb() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as other:
            while not done.is_set():
                for name in lasting[::3]:
                    put(other, f"{name}x")
                    other.delete("/kv", params={"key": f"{name}x", "ack": "stored"})

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(5):
            seen = keys(client, f"{key}/", limit=2)
            assert [name for name in seen if not name.endswith("x")] == lasting
            assert seen == sorted(set(seen))
    finally:
        done.set()
        thread.join()


def test_a_prefix_is_deleted_in_pages(client: httpx.Client, key: str) -> None:
    """Each page says how many keys were deleted; at the end none is left, and nothing else was touched."""
    for name in [*(f"{key}/{number}" for number in range(7)), f"{key}0"]:
        put(client, name)
    deleted = 0
    cursor: dict[str, str] = {}
    while True:
        params: dict[str, str | int] = {"prefix": f"{key}/", "limit": 3, "ack": "stored", **cursor}
        page = client.delete("/keys", params=params).json()
        assert page["data"]["deleted"] <= 3
        deleted += page["data"]["deleted"]
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    assert deleted == 7
    assert keys(client, key) == [f"{key}0"]
    assert client.get("/kv", params={"key": f"{key}/0"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "query", "problem"),
    [
        ("GET", "limit=0", "invalid-request"),
        ("GET", "limit=1001", "invalid-request"),
        ("GET", "limit=ten", "invalid-request"),
        ("GET", "values=maybe", "invalid-request"),
        ("GET", "unknown=1", "invalid-request"),
        ("GET", "prefix=a&prefix=b", "invalid-request"),
        ("GET", "prefix=%00", "invalid-key"),
        ("GET", "prefix=%ff", "invalid-request"),
        ("GET", "cursor=", "invalid-request"),
        ("GET", "cursor=AAAA", "invalid-request"),
        ("GET", "cursor=%21%21", "invalid-request"),
        ("DELETE", "", "invalid-request"),
        ("DELETE", "limit=5", "invalid-request"),
        ("DELETE", "prefix=a&values=true", "invalid-request"),
        ("DELETE", "prefix=a&ack=null", "invalid-request"),
    ],
)
def test_what_is_wrong_is_refused(client: httpx.Client, method: str, query: str, problem: str) -> None:
    """A listing takes what is documented and nothing else."""
    answer = client.request(method, f"/keys?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, f"/problems/{problem}")


@pytest.mark.parametrize(
    ("method", "header"),
    [
        ("DELETE", "If-Match"),
        ("DELETE", "If-None-Match"),
        ("DELETE", "If-Unmodified-Since"),
        ("DELETE", "Idempotency-Key"),
        ("GET", "If-Match"),
        ("GET", "Idempotency-Key"),
    ],
)
def test_a_condition_that_is_not_honoured_is_refused(client: httpx.Client, key: str, method: str, header: str) -> None:
    """A header field that means nothing for many keys is refused instead of ignored, and nothing is deleted."""
    put(client, key)
    answer = client.request(method, "/keys", params={"prefix": key}, headers={header: "*"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")
    assert keys(client, key) == [key]


def test_a_cursor_goes_with_its_prefix(client: httpx.Client, key: str) -> None:
    """A cursor of another prefix is refused, and nothing is skipped unseen."""
    for number in range(2):
        put(client, f"{key}/{number}")
    cursor = client.get("/keys", params={"prefix": f"{key}/", "limit": 1}).json()["cursor"]
    other = client.get("/keys", params={"prefix": key, "cursor": cursor})
    assert (other.status_code, other.json()["type"]) == (400, "/problems/invalid-request")
