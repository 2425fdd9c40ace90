"""`client.admin`: what is asked of a node, what its answers mean, and what is sent again. Each test runs with both clients."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from kvcore.client import Admin, AsyncAdmin, Channel, DeadLetter, QueueStats, Setting, Value
from kvcore.errors import ForbiddenError, RequestError, UnavailableError, UnsupportedError
from tests.unit.client.fakes import VERSION, FakeClock, FakeNode, problem

LETTER: dict[str, Any] = {
    "id": "3f0c/0",
    "key": "k",
    "op": "put",
    "version": VERSION,
    "reason": "the value breaks a rule",
    "size": 3,
    "media_type": "application/json",
    "expires_at": None,
    "condition": None,
}
AWAY = problem(503, "unavailable", {"retry-after": "1"}, outcome="unknown")


def data(content: object) -> httpx.Response:
    """Return an answer that has nothing but data."""
    return httpx.Response(200, json={"data": content})


def sent(node: FakeNode) -> list[tuple[str, str, Any]]:
    """Return the method, target and JSON body of each request."""
    return [
        (one.method, one.url.raw_path.decode(), json.loads(one.content) if one.content else None)
        for one in node.requests
    ]


def test_the_settings_in_force_are_told(node: FakeNode, client: Any) -> None:
    """Each with its value and where that comes from."""
    node.says(data([{"setting": "cache.ttl_s", "value": 60.0, "source": "file kvcore.toml"}]))
    assert client.admin.config() == [Setting(setting="cache.ttl_s", value=60.0, source="file kvcore.toml")]
    assert sent(node) == [("GET", "/admin/config", None)]


def test_the_plugins_are_told_with_those_that_are_broken(node: FakeNode, client: Any) -> None:
    """What each gives and can do, and why one could not be loaded."""
    backend = {"kind": "store", "name": "sqlite", "abilities": ["durable"]}
    plugin = {"name": "store-sqlite", "distribution": "x 1", "backends": [backend], "hooks": ["kvcore_stores"]}
    broken = {"name": "mine", "distribution": "mine 1", "reason": "ImportError"}
    node.says(httpx.Response(200, json={"data": [plugin], "broken": [broken]}))
    found = client.admin.plugins()
    assert [one.abilities for one in found.loaded[0].backends] == [["durable"]]
    assert [one.reason for one in found.broken] == ["ImportError"]


def test_the_queue_is_told_with_what_is_not_known(node: FakeNode, client: Any) -> None:
    """A number that the queue does not know is None."""
    writes = {"waiting": 3, "unsettled": None, "consumers": 1}
    node.says(data({"channels": {"writes": writes}, "dead_letters": None}))
    assert client.admin.queue() == QueueStats(channels={"writes": Channel(waiting=3, consumers=1)})


def test_the_lag_is_asked_for_once(node: FakeNode, client: Any, clock: FakeClock) -> None:
    """The node has waited for its probe: to ask again would only take as long again."""
    node.says(data({"lag_s": 0.25}))
    assert client.admin.lag() == 0.25
    node.says(problem(503, "unavailable", {"retry-after": "1"}, outcome="not-applied"))
    with pytest.raises(UnavailableError):
        client.admin.lag()
    assert (len(node.requests), clock.slept_s) == (2, [])


def test_a_dead_letter_is_told_with_its_value(node: FakeNode, client: Any) -> None:
    """As JSON or as bytes; in a list without it. What its condition was, and when it would end, is told too."""
    node.says(data([LETTER | {"condition": "If-None-Match: *"}]))
    (listed,) = client.admin.dead_letters(limit=7)
    assert listed == DeadLetter(
        id="3f0c/0",
        key="k",
        op="put",
        version=VERSION,
        reason="the value breaks a rule",
        size_bytes=3,
        media_type="application/json",
        condition="If-None-Match: *",
    )
    node.says(data(LETTER | {"value": 1.10}))
    assert client.admin.dead_letter("3f0c/0").value == Value(
        data=b"1.1", media_type="application/json", version=VERSION
    )
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    node.says(data(LETTER | {"value_base64": "AP8=", "media_type": "image/png", "expires_at": ends.isoformat()}))
    shown = client.admin.dead_letter("a b")
    assert (shown.value.data, shown.expires_at) == (b"\x00\xff", ends)
    assert [target for _, target, _ in sent(node)] == [
        "/admin/dead-letters?limit=7",
        "/admin/dead-letters/3f0c%2F0",
        "/admin/dead-letters/a%20b",
    ]


def test_a_deleted_key_has_a_dead_letter_without_a_value(node: FakeNode, client: Any) -> None:
    """A delete that was rejected has neither media type nor value."""
    node.says(data(LETTER | {"op": "delete", "media_type": None, "size": 0}))
    letter = client.admin.dead_letter("x")
    assert (letter.op, letter.media_type, letter.value) == ("delete", None, None)


def test_a_dead_letter_that_is_not_there_is_none(node: FakeNode, client: Any) -> None:
    """Missing is None; a path that is not there at all is an error."""
    node.says(problem(404, "no-such-dead-letter"))
    assert client.admin.dead_letter("x") is None
    node.says(problem(404, "no-such-resource"))
    with pytest.raises(RequestError):
        client.admin.dead_letter("x")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_be_another_path_is_refused(node: FakeNode, client: Any, name: str) -> None:
    """Nothing is sent."""
    with pytest.raises(RequestError, match="names no dead letter"):
        client.admin.dead_letter(name)
    assert node.requests == []


@pytest.mark.parametrize(("method", "member"), [("replay", "replayed"), ("discard", "discarded")])
def test_any_number_of_dead_letters_is_decided_about(node: FakeNode, client: Any, method: str, member: str) -> None:
    """A thousand in a request, and together they are counted."""
    node.says(data({member: 1000}), data({member: 1}))
    assert getattr(client.admin, method)(str(number) for number in range(1500)) == 1001
    assert [(verb, target) for verb, target, _ in sent(node)] == [("POST", f"/admin/dead-letters/{method}")] * 2
    assert [len(body["ids"]) for _, _, body in sent(node)] == [1000, 500]
    assert node.last.headers["content-type"] == "application/json"


def test_no_dead_letters_are_no_request(node: FakeNode, client: Any) -> None:
    """There is nothing to be asked about none."""
    assert client.admin.replay([]) == client.admin.discard(iter(())) == 0
    assert node.requests == []


def test_a_purge_goes_on_until_nothing_is_left(node: FakeNode, client: Any) -> None:
    """Portion by portion, with progress after each."""
    node.says(data({"removed": 1000, "more": True}), AWAY, data({"removed": 7, "more": False}))
    progress: list[int] = []
    assert client.admin.purge(progress.append) == 1007
    assert progress == [1000, 1007]
    assert sent(node) == [("POST", "/admin/purge", {})] * 3


@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("config", (), []),
        ("queue", (), {"channels": {}, "dead_letters": 0}),
        ("dead_letters", (), []),
        ("dead_letter", ("x",), LETTER),
        ("clear_cache", (), {}),
        ("replay", (["x"],), {"replayed": 1}),
        ("discard", (["x"],), {"discarded": 1}),
        ("purge", (), {"removed": 0, "more": False}),
    ],
)
def test_what_may_have_been_done_is_sent_again(
    node: FakeNode, client: Any, method: str, arguments: tuple[Any, ...], answer: object
) -> None:
    """Done twice is done once, for all of these."""
    node.says(AWAY, httpx.ReadTimeout("slow"), data(answer))
    getattr(client.admin, method)(*arguments)
    assert len(node.requests) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(403, "forbidden"), ForbiddenError),
        (problem(501, "unsupported"), UnsupportedError),
        (httpx.Response(200, json={"data": 5}), RequestError),
    ],
)
def test_a_refusal_is_raised_at_once(
    node: FakeNode, client: Any, answer: httpx.Response, error: type[Exception]
) -> None:
    """A token without the scope, a queue without the ability, or an answer that is none of a node."""
    node.says(answer)
    with pytest.raises(error):
        client.admin.queue()
    assert len(node.requests) == 1


def test_readiness_is_told(node: FakeNode, client: Any) -> None:
    """A node that takes no requests says so by a 503, which is an answer, not a failure."""
    node.says(httpx.Response(200, json={"status": "ready"}))
    assert client.is_ready() is True
    node.says(problem(503, "draining"))
    assert client.is_ready() is False
    node.says(httpx.Response(503, text="no backend"))
    with pytest.raises(UnavailableError):
        client.is_ready()


def test_metrics_are_passed_on_as_they_are(node: FakeNode, client: Any) -> None:
    """As text, to whoever can read it."""
    node.says(httpx.Response(200, text="up 1\n"))
    assert client.metrics() == "up 1\n"
    node.says(problem(401, "unauthenticated"))
    with pytest.raises(Exception, match="unauthenticated!"):
        client.metrics()


def test_both_kinds_have_the_same_methods() -> None:
    """With the same parameters, so that one document serves for both."""
    found = [
        {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if not name.startswith("_")
        }
        for kind in (Admin, AsyncAdmin)
    ]
    assert found[0] == found[1]
