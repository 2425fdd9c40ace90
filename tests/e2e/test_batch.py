"""Batches, as a client sees them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest


def batch(client: httpx.Client, *operations: dict[str, Any], ack: str = "stored") -> list[dict[str, Any]]:
    """Run a batch and return its results."""
    answer = client.post("/batch", json={"operations": operations}, params={"ack": ack})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]  # JSON


def test_a_result_for_each_operation_in_order(client: httpx.Client, key: str) -> None:
    """Each operation has the status, the version and the value that it would have been answered with alone."""
    client.put("/kv", json={"data": {"key": f"{key}/old", "value": [1]}}, params={"ack": "stored"})
    put, get, delete, missing = batch(
        client,
        {"op": "put", "key": f"{key}/new", "value": 1},
        {"op": "get", "key": f"{key}/old"},
        {"op": "delete", "key": f"{key}/none"},
        {"op": "get", "key": f"{key}/missing"},
    )
    assert put == {"status": 200, "key": f"{key}/new", "version": put["version"], "detail": "stored"}
    assert get == {"status": 200, "key": f"{key}/old", "version": get["version"], "value": [1]} | {
        "media_type": "application/json",
        "expires_at": None,
    }
    assert (delete["status"], delete["detail"]) == (200, "stored")
    assert (missing["status"], missing["problem"]["type"]) == (404, "/problems/key-not-found")
    read = client.get("/kv", params={"key": f"{key}/new"})
    assert read.headers["etag"] == f'"{put["version"]}"'


def test_values_come_back_byte_for_byte(client: httpx.Client, key: str) -> None:
    """JSON stays as it was sent; bytes travel in base64 and keep their media type."""
    raw = rb'{ "b" : 1.0e0, "s":"\u00e9\/" }'
    body = b'{"operations":[{"op":"put","key":"%s/1","value":%s},' % (key.encode(), raw)
    body += b'{"op":"put","key":"%s/2","value_base64":"AP8=","media_type":"image/png","ttl":60}]}' % key.encode()
    headers = {"content-type": "application/json"}
    assert client.post("/batch", content=body, headers=headers, params={"ack": "stored"}).status_code == 200
    answer = client.post("/batch", json={"operations": [{"op": "get", "key": f"{key}/{n}"} for n in (1, 2)]})
    assert b'"value":' + raw in answer.content
    second = answer.json()["data"][1]
    assert (second["value_base64"], second["media_type"]) == ("AP8=", "image/png")
    assert second["expires_at"].endswith("Z")


def test_conditions_hold_for_their_operation_alone(client: httpx.Client, key: str) -> None:
    """A condition that fails is a 412 of its operation, and the others are done: a batch is no transaction."""
    (made,) = batch(client, {"op": "put", "key": f"{key}/1", "value": 1, "if_none_match": "*"})
    assert made["status"] == 201
    again, changed, gone = batch(
        client,
        {"op": "put", "key": f"{key}/2", "value": 1, "if_match": "*"},
        {"op": "put", "key": f"{key}/1", "value": 2, "if_match": made["version"]},
        {"op": "delete", "key": f"{key}/3", "if_match": made["version"]},
    )
    assert [again["status"], changed["status"], gone["status"]] == [412, 200, 412]
    assert again["problem"]["type"] == "/problems/condition-failed"
    (late,) = batch(client, {"op": "delete", "key": f"{key}/1", "if_match": made["version"]})
    assert (late["status"], late["problem"]["version"]) == (412, changed["version"])


def test_a_thousand_operations(client: httpx.Client, key: str) -> None:
    """A batch of the greatest length is done; one that is longer is refused as a whole."""
    names = [f"{key}/{number}" for number in range(1000)]
    assert {one["status"] for one in batch(client, *({"op": "put", "key": name, "value": name} for name in names))} == {
        200
    }
    assert [one["value"] for one in batch(client, *({"op": "get", "key": name} for name in names))] == names
    too_many = [{"op": "get", "key": name} for name in [*names, key]]
    answer = client.post("/batch", json={"operations": too_many})
    assert (answer.status_code, "1001 operations" in answer.json()["detail"]) == (400, True)


def test_a_long_body_is_parsed_as_a_short_one(client: httpx.Client, key: str) -> None:
    """A batch of some megabytes is taken, or refused for what is wrong at its very end."""
    operations: list[dict[str, Any]] = [{"op": "put", "key": f"{key}/{n}", "value": "v" * 500_000} for n in range(6)]
    assert [one["status"] for one in batch(client, *operations)] == [200] * 6
    answer = client.post("/batch", json={"operations": [*operations, {"op": "put", "key": key}]})
    assert (answer.status_code, "$.operations[6]" in answer.json()["detail"]) == (400, True)


def test_one_operation_too_large_is_a_result(client: httpx.Client, key: str) -> None:
    """A value beyond the limit, and a key that cannot be one, are refused for themselves."""
    large, bad, good = batch(
        client,
        {"op": "put", "key": f"{key}/1", "value": "v" * (1 << 20)},
        {"op": "put", "key": "", "value": 1},
        {"op": "put", "key": f"{key}/2", "value": 1},
    )
    assert (large["status"], large["problem"]["type"]) == (413, "/problems/value-too-large")
    assert (bad["status"], bad["problem"]["type"]) == (400, "/problems/invalid-key")
    assert good["status"] == 200


@pytest.mark.one_process
def test_results_are_counted(client: httpx.Client, key: str) -> None:
    """The metrics show results by operation and status, since the batch itself is answered 200."""
    name = 'kvcore_batch_operations_total{operation="delete",status="412"}'

    def counted() -> float:
        lines = client.get("/metrics").text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)

    before = counted()
    batch(client, *({"op": "delete", "key": f"{key}/{number}", "if_match": "*"} for number in range(3)))
    assert counted() == before + 3


GOOD = {"op": "put", "key": "wrong batch", "value": 1}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"operations": []}, "$.operations"),
        ({"operations": {}}, "$.operations"),
        ({}, "operations"),
        ([], "object"),
        ({"operations": [GOOD], "more": 1}, "more"),
        ({"operations": [GOOD, GOOD]}, "$.operations[1]"),
        ({"operations": [GOOD, {"op": "get", "key": "wrong batch"}]}, "$.operations[1]"),
        ({"operations": [{"key": "wrong batch"}]}, "$.operations[0]"),
        ({"operations": [{"op": "move", "key": "wrong batch"}]}, "$.operations[0].op"),
        ({"operations": [{"op": "get", "key": 1}]}, "$.operations[0].key"),
        ({"operations": [{"op": "get", "key": "wrong batch", "value": 1}]}, "$.operations[0]"),
        ({"operations": [{"op": "get"}]}, "$.operations[0]"),
        ({"operations": [{"op": "put", "key": "wrong batch"}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"value_base64": "AA=="}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"media_type": "text/plain"}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"ttl": 0}]}, "$.operations[0].ttl"),
        ({"operations": [GOOD | {"ttl": 1.5}]}, "$.operations[0].ttl"),
        ({"operations": [GOOD | {"ttl": 10**30}]}, "$.operations[0].ttl"),
        ({"operations": [GOOD | {"if_match": "0" * 24}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"if_match": "*\n"}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"if_match": "x"}]}, "$.operations[0]"),
        ({"operations": [GOOD | {"if_match": "*", "if_none_match": "*"}]}, "$.operations[0]"),
        ({"operations": [{"op": "put", "key": "wrong batch", "value_base64": "!"}]}, "$.operations[0].value_base64"),
        ({"operations": [{"op": "put", "key": "wrong batch", "value_base64": None}]}, "$.operations[0].value_base64"),
        (
            {"operations": [{"op": "put", "key": "wrong batch", "value_base64": "AA==", "media_type": "x"}]},
            "$.operations[0]",
        ),
        (
            {
                "operations": [
                    {"op": "put", "key": "wrong batch", "value_base64": "AA==", "media_type": "application/json"}
                ]
            },
            "$.operations[0]",
        ),
        (b"{", "JSON"),
        (b"", "empty"),
        (b'{"operations":[{"op":"get","key":"wrong batch","key":"l"}]}', "twice"),
        (b'{"operations":[{"op":"put","key":"wrong batch","value":{"a":1,"a":2}}]}', "twice"),
        (b'{"operations":[{"op":"put","key":"wrong batch","value":1e999}]}', "range"),
        (b'{"operations":[{"op":"put","key":"wrong batch","value":' + b"[" * 65 + b"]" * 65 + b"}]}", "levels"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_batch_that_is_wrong_does_nothing(client: httpx.Client, body: Any, where: str) -> None:
    """It is refused as a whole with the path of what is wrong, before anything is done."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/batch", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, where in answer.json()["detail"]) == (400, True), answer.text
    assert client.get("/kv", params={"key": "wrong batch"}).status_code == 404


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json5"])
def test_a_batch_is_sent_as_json(client: httpx.Client, media_type: str | None) -> None:
    """What a web page can send unasked is refused, whatever is in it."""
    headers = {} if media_type is None else {"content-type": media_type}
    answer = client.post("/batch", content=b'{"operations":[{"op":"get","key":"wrong batch"}]}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "Idempotency-Key"])
def test_a_batch_has_no_condition_as_a_whole(client: httpx.Client, header: str) -> None:
    """A header field that cannot be honoured is refused, not ignored."""
    answer = client.post("/batch", json={"operations": [{"op": "get", "key": "wrong batch"}]}, headers={header: "*"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")


def test_a_body_beyond_the_limit_is_not_read(client: httpx.Client) -> None:
    """A batch is at most 8 MiB."""
    answer = client.post("/batch", content=b" " * ((8 << 20) + 1), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
