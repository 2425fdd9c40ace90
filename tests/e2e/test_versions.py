"""A version names one write for ever: it is never given again, and a condition on an old one never holds again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import running_node

BODY = b"value"


def put(client: httpx.Client, key: str, **headers: str) -> httpx.Response:
    """Write a key in the store, with a condition perhaps."""
    return client.put(f"/kv/{key}", params={"ack": "stored"}, content=BODY, headers=headers)


def write_all_ways(client: httpx.Client, key: str) -> Iterator[str]:
    """Yield the ETag of each of a key's versions: overwritten, deleted and created again, expired and created again."""
    yield put(client, key).headers["etag"]
    yield put(client, key).headers["etag"]
    yield client.delete(f"/kv/{key}", params={"ack": "stored"}).headers["etag"]
    yield put(client, key, **{"If-None-Match": "*"}).headers["etag"]
    answer = client.put(f"/kv/{key}", params={"ack": "stored", "ttl": 1}, content=BODY)
    yield answer.headers["etag"]
    while client.get(f"/kv/{key}").status_code == 200:
        pass  # until it has expired
    yield put(client, key, **{"If-None-Match": "*"}).headers["etag"]


def check(client: httpx.Client, key: str, etags: list[str]) -> None:
    """The versions rise, and of all conditions only that on the last one holds."""
    assert all(before < after for before, after in itertools.pairwise(etags))
    for old in etags[:-1]:
        refused = put(client, key, **{"If-Match": old})
        assert (refused.status_code, refused.headers["etag"]) == (412, etags[-1])
    assert client.get(f"/kv/{key}").headers["etag"] == etags[-1]


def test_a_version_never_comes_back(client: httpx.Client) -> None:
    """Not when the key is overwritten, deleted and created again, or expires and is created again."""
    key = "version never comes back"
    etags = list(write_all_ways(client, key))
    check(client, key, etags)
    etags += write_all_ways(client, key)
    check(client, key, etags)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_version_does_not_come_back_after_a_restart(tmp_path: Path, kill: bool) -> None:
    """A node that was stopped or killed gives newer versions than any before."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db")}
    etags: list[str] = []
    for _ in range(3):
        with running_node(settings) as node, httpx.Client(base_url=node.url, timeout=30) as client:
            etags += write_all_ways(client, "key")
            check(client, "key", etags)
            if kill:
                node.kill()
            else:
                node.stop()
