"""Pages with their cursors, and keys that are restored with their versions: what an export and an import are made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from kvcore.client import Put, Restore, Restored
from kvcore.errors import RejectedError, RequestError
from tests.unit.client.fakes import VERSION, FakeNode, problem

OTHER = "0298f3a7c2d10000a1b2c3d4"


def test_a_page_gives_the_cursor_of_the_next(client: Any, node: FakeNode) -> None:
    """A listing can be gone on with at any time: prefix, limit and cursor are sent, and the next cursor comes back."""
    line = {"key": "a/1", "version": VERSION, "size": 2, "media_type": "application/json", "value": 11}
    node.says(
        httpx.Response(200, json={"data": [line], "cursor": "next"}),
        httpx.Response(200, json={"data": [], "cursor": None}),
    )
    page = client.page("a/", values=True, limit=7)
    assert ([one.value.data for one in page.lines], page.cursor) == ([b"11"], "next")
    assert client.page("a/", cursor="next").cursor is None
    first, second = (request.url.params for request in node.requests)
    assert (first["prefix"], first["limit"], first["values"]) == ("a/", "7", "true")
    assert (second["limit"], second["cursor"]) == ("1000", "next")


def test_white_space_around_json_survives_a_batch(client: Any, node: FakeNode) -> None:
    """Inside a request it would be lost, so such a value is sent in base64, with its media type."""
    data = [{"status": 200, "key": key, "version": VERSION, "detail": "stored"} for key in "ab"]
    node.says(httpx.Response(200, json={"data": data}))
    client.batch([Put("a", b" 1\n", media_type="application/json"), Put("b", b"[ 1 ]", media_type="application/json")])
    assert json.loads(node.requests[0].content)["operations"] == [
        {"op": "put", "key": "a", "value_base64": "IDEK", "media_type": "application/json"},
        {"op": "put", "key": "b", "value": [1]},
    ]
    assert b'"value":[ 1 ]' in node.requests[0].content


def test_restore_sends_versions_and_tells_what_became_of_each(client: Any, node: FakeNode) -> None:
    """JSON goes as it is, bytes in base64; what is newer stays, what has expired is not written, what fails is an error."""
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    refused = problem(400, "rejected-by-store").json()
    data = [
        {"status": 200, "key": "a", "version": VERSION, "detail": "restored"},
        {"status": 200, "key": "b", "version": OTHER, "detail": "newer"},
        {"status": 400, "key": "c", "problem": refused},
    ]
    node.says(httpx.Response(200, json={"data": data}))
    one, two, three = client.admin.restore(
        [
            Restore("a", b'{"n":1.0}', "application/json", VERSION, ends),
            Restore("b", b"\xff", "image/png", VERSION),
            Restore("c", b" 1", "application/json", VERSION),
        ]
    )
    assert (one, two) == (Restored("a", VERSION, "restored"), Restored("b", OTHER, "newer"))
    assert isinstance(three, RejectedError)
    (request,) = node.requests
    assert (request.method, request.url.path) == ("POST", "/admin/restore")
    assert b'"value":{"n":1.0}' in request.content
    assert json.loads(request.content)["entries"] == [
        {
            "key": "a",
            "media_type": "application/json",
            "version": VERSION,
            "expires_at": "2030-01-01T00:00:00Z",
            "value": {"n": 1.0},
        },
        {"key": "b", "media_type": "image/png", "version": VERSION, "expires_at": None, "value_base64": "/w=="},
        {"key": "c", "media_type": "application/json", "version": VERSION, "expires_at": None, "value_base64": "IDE="},
    ]


def test_entries_that_may_succeed_later_are_sent_again(client: Any, node: FakeNode) -> None:
    """A tier that does not serve for one of them is no reason to lose it: restoring twice is as good as once."""
    done = {"status": 200, "key": "a", "version": VERSION, "detail": "restored"}
    failed = {"status": 503, "key": "b", "problem": problem(503, "store-unavailable").json()}
    node.says(
        httpx.Response(200, json={"data": [done, failed]}),
        httpx.Response(200, json={"data": [done, {**done, "key": "b"}]}),
    )
    entries = [Restore(key, b"1", "application/json", VERSION) for key in "ab"]
    assert [result.detail for result in client.admin.restore(entries)] == ["restored", "restored"]
    assert node.requests[0].content == node.requests[1].content


def test_restore_refuses_what_is_no_answer_to_it(client: Any, node: FakeNode) -> None:
    """As many results as entries, each with a word of what became of it: anything else does not come from a node."""
    for data in ([], [{"status": 200, "key": "a", "version": VERSION}]):
        node.says(httpx.Response(200, json={"data": data}))
        with pytest.raises(RequestError, match="is it a node"):
            client.admin.restore([Restore("a", b"1", "application/json", VERSION)])


def test_restore_sends_nothing_that_is_no_json(client: Any, node: FakeNode) -> None:
    """A value that is said to be JSON and is not could end the request that it stands in."""
    with pytest.raises(RequestError, match="not valid JSON"):
        client.admin.restore([Restore("a", b'1},{"key":"b"', "application/json", VERSION)])
    assert node.requests == []
