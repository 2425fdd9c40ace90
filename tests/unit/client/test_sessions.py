"""Sessions: what they remember, and what they ask for."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcore.client import Client, Delete, Get, Put
from kvcore.errors import ConditionFailedError
from tests.unit.client.fakes import FakeNode, problem, value, written


def version(number: int) -> str:
    """Return a version; a higher number is a newer one."""
    return f"{number:024x}"


def asked(node: FakeNode) -> str | None:
    """Return the version that the last read asked for."""
    return dict(node.last.url.params).get("min_version")


def test_what_was_written_is_asked_for(node: FakeNode, client: Any) -> None:
    """A read after a write, or after a delete, names its version; another key's names none."""
    session = client.session()
    node.says(written(version(1)), written(version(2)), problem(404, "key-not-found"))
    session.put("k", 1)
    session.delete("k")
    assert session.get("k") is None
    assert asked(node) == version(2)
    session.get("other")
    assert asked(node) is None


def test_what_was_read_is_asked_for(node: FakeNode, client: Any) -> None:
    """No read of a key goes back behind an earlier one."""
    session = client.session()
    node.says(value(version=version(3)))
    session.get("k")
    session.get("k")
    assert asked(node) == version(3)


def test_what_head_told_is_asked_for(node: FakeNode, client: Any) -> None:
    """A key's version is one that was seen, whether the value came with it or not."""
    session = client.session()
    node.says(
        httpx.Response(200, headers={"etag": f'"{version(3)}"', "content-length": "1"}), value(version=version(3))
    )
    session.head("k")
    session.get("k")
    assert asked(node) == version(3)
    session.head("k")
    assert asked(node) == version(3)


def test_what_stood_in_the_way_is_asked_for(node: FakeNode, client: Any) -> None:
    """Who reads again after a failed condition sees the version that made it fail, not the one that failed."""
    session = client.session()
    node.says(problem(412, "condition-failed", {"etag": f'"{version(5)}"'}), value(version=version(5)))
    with pytest.raises(ConditionFailedError):
        session.put("k", 1, if_match=version(4))
    session.get("k")
    assert asked(node) == version(5)


def test_the_newest_of_what_is_known_and_what_is_asked_for_counts(node: FakeNode, client: Any) -> None:
    """A caller's own `min_version` can only raise the bar, and an older answer to a write does not lower it."""
    session = client.session()
    node.says(written(version(7)), written(version(6)), value(version=version(9)))
    session.put("k", 1)
    session.put("k", 1)
    session.get("k", min_version=version(5))
    assert asked(node) == version(7)
    session.get("k", min_version=version(10))
    assert asked(node) == version(10)


def test_a_client_remembers_nothing(node: FakeNode, client: Any) -> None:
    """Only a session does, and each for itself."""
    node.says(written(version(1)), value(version=version(1)))
    client.session().put("k", 1)
    client.get("k")
    assert asked(node) is None
    client.session().get("k")
    assert asked(node) is None


def test_a_session_remembers_so_many_keys(node: FakeNode, client: Any) -> None:
    """Those that were used last."""
    session = client.session(max_keys=2)
    node.says(written(version(1)))
    for key in ("a", "b", "a", "c"):
        session.put(key, 1)
    node.says(value(version=version(1)))
    session.get("b")
    assert asked(node) is None
    session.get("c")
    assert asked(node) == version(1)


def test_a_batch_is_part_of_the_session(node: FakeNode, client: Any) -> None:
    """What it wrote is remembered, and what it read too old is read again alone."""
    session = client.session()

    def lines(*numbers: int, op: str) -> httpx.Response:
        read = {"value": 1, "media_type": "application/json"}
        more = read if op == "get" else {"detail": "stored"}
        return httpx.Response(
            200,
            json={
                "data": [{"status": 200, "key": str(at), "version": version(n), **more} for at, n in enumerate(numbers)]
            },
        )

    node.says(lines(5, 5, op="put"))
    session.batch([Put("0", 1), Delete("1")])
    node.says(lines(4, 6, op="get"), value(version=version(5)))
    old, new = session.batch([Get("0"), Get("1")])
    assert (old.version, new.version) == (version(5), version(6))
    assert (node.last.url.path, asked(node)) == ("/kv/0", version(5))
    node.says(value(version=version(6)))
    session.get("1")
    assert asked(node) == version(6)


def test_a_batch_does_not_find_missing_what_was_written(node: FakeNode, client: Any) -> None:
    """A 404 for a key whose version is known may be older than that: it is asked for alone."""
    session = client.session()
    node.says(written(version(5)))
    session.put("k", 1)
    missing = {"type": "/problems/key-not-found", "title": "", "status": 404}
    node.says(
        httpx.Response(200, json={"data": [{"status": 404, "key": "k", "problem": missing}]}),
        value(version=version(5)),
    )
    assert session.batch([Get("k")])[0].version == version(5)


class StaleReplica:
    """Answers reads with any version from the asked one up, as caches and replicas do, and writes with the next."""

    def __init__(self, choices: Any) -> None:
        self._choices = choices
        self.newest = {"a": 0, "b": 0}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.url.path == "/batch":
            operations = json.loads(request.content)["operations"]
            return httpx.Response(200, json={"data": [self._line(one["op"], one["key"]) for one in operations]})
        key = request.url.path.removeprefix("/kv/")
        if request.method == "PUT":
            return written(version(self._next(key)), key=key)
        least = int(dict(request.url.params).get("min_version", "0"), 16)
        return value(version=version(self._some(key, least)))

    def _line(self, op: str, key: str) -> dict[str, object]:
        if op == "put":
            return {"status": 200, "key": key, "version": version(self._next(key)), "detail": "stored"}
        found = {"value": 1, "media_type": "application/json"}
        return {"status": 200, "key": key, "version": version(self._some(key, 0)), **found}

    def _next(self, key: str) -> int:
        self.newest[key] += 1
        return self.newest[key]

    def _some(self, key: str, least: int) -> int:
        number: int = self._choices.draw(st.integers(least, self.newest[key]))
        return number


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_session_never_goes_back(data: st.DataObject) -> None:
    """Over a node that answers as old as it is allowed to, each read of a key is at least as new as all before it."""
    transport = httpx.MockTransport(StaleReplica(data))
    with httpx.Client(transport=transport) as http:
        session = Client(http=http).session()
        seen = {"a": "", "b": ""}
        for _ in range(data.draw(st.integers(1, 15))):
            key = data.draw(st.sampled_from("ab"))
            how = data.draw(st.sampled_from(("get", "put", "batch get", "batch put")))
            if how.startswith("batch"):
                [found] = session.batch([Put(key, 1) if how.endswith("put") else Get(key)])
            else:
                found = session.put(key, 1) if how == "put" else session.get(key)
            assert found is not None
            assert not isinstance(found, Exception)
            assert found.version >= seen[key]
            seen[key] = found.version
