"""Idempotency keys: a conditional write that is sent again gets the answer that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from kvcore.testing.nodes import running_node
from tests.e2e.test_api import delete, get, problem_of, put

CREATE = {"If-None-Match": "*"}


def once(name: str, /, **condition: str) -> dict[str, str]:
    """Return the header fields of a request that may be sent again under this name."""
    return {field.replace("_", "-"): value for field, value in condition.items()} | {"Idempotency-Key": name}


def told(answer: httpx.Response) -> tuple[int, str | None, Any]:
    """Return what a client is told by an answer."""
    return answer.status_code, answer.headers.get("etag"), answer.json()


def test_a_repeated_create_gets_the_first_answer(client: httpx.Client, key: str) -> None:
    """A create that is sent again is not refused because of itself, also when the key was overwritten or deleted since."""
    headers = once("a", if_none_match="*")
    first = put(client, key, 1, headers=headers)
    assert first.status_code == 201
    assert told(put(client, key, 1, headers=headers)) == told(first)
    put(client, key, 2)
    assert told(put(client, key, 1, headers=headers)) == told(first)
    assert get(client, key).json()["data"]["value"] == 2
    delete(client, key)
    assert told(put(client, key, 1, headers=headers)) == told(first)
    assert get(client, key).status_code == 404


def test_a_repeated_write_to_a_version_gets_the_first_answer(client: httpx.Client, key: str) -> None:
    """A write on `If-Match` changes the version that it asks for, and is answered the same all the same; without the key it is refused."""
    etag = put(client, key, 1).headers["etag"]
    headers = once("a", if_match=etag)
    first = put(client, key, 2, headers=headers)
    assert first.status_code == 200
    assert told(put(client, key, 2, headers=headers)) == told(first)
    assert put(client, key, 2, headers={"If-Match": etag}).status_code == 412
    assert get(client, key).headers["etag"] == first.headers["etag"]


def test_a_repeated_delete_gets_the_first_answer(client: httpx.Client, key: str) -> None:
    """A conditional delete that is sent again has deleted, and not what was created since."""
    etag = put(client, key, 1).headers["etag"]
    headers = once("a", if_match=etag)
    first = delete(client, key, headers=headers)
    put(client, key, 2)
    assert told(delete(client, key, headers=headers)) == told(first)
    assert get(client, key).json()["data"]["value"] == 2


def test_a_refusal_is_an_answer_too(client: httpx.Client, key: str) -> None:
    """A write that was refused by its condition stays refused, also when the condition would hold now."""
    put(client, key, 1)
    headers = once("a", if_none_match="*")
    first = put(client, key, 2, headers=headers)
    assert (first.status_code, problem_of(first)) == (412, "condition-failed")
    delete(client, key)
    assert told(put(client, key, 2, headers=headers)) == told(first)
    assert put(client, key, 2, headers=CREATE).status_code == 201


def test_another_request_under_the_same_name_is_another_request(client: httpx.Client, key: str) -> None:
    """Another value, key, condition, time to live or method is judged by itself."""
    headers = once("a", if_none_match="*")
    etag = put(client, key, 1, headers=headers).headers["etag"]
    assert put(client, key, 2, headers=headers).status_code == 412
    assert put(client, key, 1, ttl=60, headers=headers).status_code == 412
    assert put(client, key + " other", 1, headers=headers).status_code == 201
    assert put(client, key, 1, headers=once("a", if_match=etag)).status_code == 200
    assert delete(client, key, headers=once("a", if_match="*")).status_code == 200


def test_both_forms_name_the_same_request(client: httpx.Client, key: str) -> None:
    """A request may be repeated in the other form, and its name be written with the quotes of a structured string or without."""
    headers = once("name", if_none_match="*")
    first = put(client, key, 1, headers=headers)
    quoted = headers | {"Idempotency-Key": '"name"', "Content-Type": "application/json"}
    assert told(client.put(f"/kv/{key}", content=b"1", headers=quoted)) == told(first)
    other_type = quoted | {"Content-Type": "text/plain"}
    assert client.put(f"/kv/{key}", content=b"1", headers=other_type).status_code == 412


def test_a_repeated_request_gets_its_answer_after_a_restart(tmp_path: Path) -> None:
    """The answer is remembered by the store, not by the node that gave it."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db")}
    headers = once("a", if_none_match="*")
    answers = []
    for _ in range(2):
        with running_node(settings) as node, httpx.Client(base_url=node.url, timeout=30) as client:
            answers.append(told(put(client, "key", 1, headers=headers)))
            put(client, "key", 2)
    assert answers[0] == answers[1]
    assert answers[0][0] == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "a"},
        CREATE | {"Idempotency-Key": ""},
        CREATE | {"Idempotency-Key": "k" * 256},
        CREATE | {"Idempotency-Key": "a b"},
        CREATE | {"Idempotency-Key": '"a'},
        CREATE | {"Idempotency-Key": '""'},
        CREATE | {"Idempotency-Key": "é"},
    ],
    ids=lambda headers: ascii(headers["Idempotency-Key"])[:10],
)
def test_a_name_that_cannot_be_honoured_is_refused(client: httpx.Client, key: str, headers: dict[str, str]) -> None:
    """A name without a condition, or that is none, is refused with 400, and nothing is written."""
    sent = {name: value.encode() for name, value in headers.items()}
    for answer in (put(client, key, 1, headers=sent), client.put(f"/kv/{key}", content=b"1", headers=sent)):  # type: ignore[arg-type]  # httpx takes bytes too
        assert (answer.status_code, problem_of(answer)) == (400, "invalid-request")
    assert get(client, key).status_code == 404
    assert put(client, key, 1, headers=CREATE | {"Idempotency-Key": "k" * 255}).status_code == 201


def test_a_batch_and_a_single_request_are_the_same_request(client: httpx.Client, key: str) -> None:
    """An operation of a batch under a name is the request that has the same parts, sent alone: whichever is first is answered."""
    etag = put(client, key, 1, headers=once("a", if_none_match="*")).headers["etag"]
    put(client, key, 2)
    raw = client.put(
        f"/kv/{key}/raw?ttl=60", content=b"\0", headers=once("b", if_none_match="*") | {"Content-Type": "image/png"}
    )
    put(client, f"{key}/gone", 1)
    match = {"if_match": "*", "idempotency_key": "c"}
    create = {"if_none_match": "*"}
    operations = [
        {"op": "put", "key": key, "value": 1, "idempotency_key": "a", **create},
        {"op": "put", "key": f"{key}/raw", "value_base64": "AA==", "media_type": "image/png", "ttl": 60}
        | {"idempotency_key": "b", **create},
        {"op": "delete", "key": f"{key}/gone", **match},
    ]
    results = client.post("/batch", json={"operations": operations}).json()["data"]
    assert [result["status"] for result in results] == [201, 201, 200]
    assert [f'"{result["version"]}"' for result in results[:2]] == [etag, raw.headers["etag"]]
    put(client, f"{key}/gone", 2)
    alone = delete(client, f"{key}/gone", headers=once("c", if_match="*"))
    assert (alone.status_code, alone.json()["data"]["version"]) == (200, results[2]["version"])
    assert client.post("/batch", json={"operations": operations}).json()["data"] == results


@pytest.mark.parametrize("name", ["a", "", 'a"b', "a b", "a\n", "a" * 256])
def test_a_name_in_a_batch_is_refused_as_in_a_header(client: httpx.Client, key: str, name: str) -> None:
    """Without a condition, and where it is no name, the whole batch is refused, and nothing of it is done."""
    condition = {} if name == "a" else {"if_none_match": "*"}
    named = {"op": "put", "key": key, "value": 1, "idempotency_key": name} | condition
    answer = client.post("/batch", json={"operations": [{"op": "put", "key": f"{key}/other", "value": 1}, named]})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")
    assert "$.operations[1]" in answer.json()["detail"]
    assert get(client, f"{key}/other").status_code == 404
