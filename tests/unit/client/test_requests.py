"""What the clients send, and what they make of the answers."""

from __future__ import annotations

import inspect
import json
import pickle
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx
import msgspec
import pytest

from kvcore.client import AsyncClient, Client, Delete, Get, Listed, Put, Value
from kvcore.errors import ConditionFailedError, InvalidKeyError, KvcoreError, RequestError, UnavailableError
from kvcore.secret import Secret
from tests.unit.client.fakes import VERSION, FakeNode, each, problem, value, written

Connect = Callable[..., Any]
TOKEN = "kvcore-very-secret"  # noqa: S105 - made up
ODD_KEYS = [
    "a",
    ".",
    "..",
    "../..",
    "a/./b",
    "/",
    "//",
    "a/b",
    "%",
    "%2F",
    "a+b c",
    "?&=#;:@",
    "\\",
    "\x01",
    "é",
    "🗝️",
    "...",
    "a.b",
]


def listed(*keys: str, cursor: str | None = None, **members: object) -> httpx.Response:
    """Return a page of a listing."""
    line = {"version": VERSION, "size": 1, "media_type": "application/json", "expires_at": None}
    return httpx.Response(200, json={"data": [{"key": key, **line, **members} for key in keys], "cursor": cursor})


def test_both_clients_have_the_same_methods() -> None:
    """What one can do the other can, with the same parameters, defaults included."""
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(AsyncClient, name)).parameters == inspect.signature(method).parameters


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_any_key_becomes_one_path_segment(node: FakeNode, client: Any, key: str) -> None:
    """Whatever is in a key, it is sent percent-encoded behind `/kv/`, and nothing on the way can take it for dots or slashes."""
    node.says(value())
    client.get(key)
    segment = node.last.url.raw_path.removeprefix(b"/kv/")
    assert unquote_to_bytes(segment) == key.encode()
    assert not set(segment) - set(b"%ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
    assert segment not in (b".", b"..")


@pytest.mark.parametrize("key", ["", "\ud800"], ids=ascii)
def test_a_key_that_has_no_path_is_refused(node: FakeNode, client: Any, key: str) -> None:
    """The node is not asked for it."""
    for ask in each(lambda: client.get(key), lambda: client.put(key, 1), lambda: client.delete(key)):
        with pytest.raises(InvalidKeyError):
            ask()
    assert node.requests == []


@pytest.mark.parametrize(
    ("given", "media_type", "body", "sent_type"),
    [
        ("text", None, b'"text"', "application/json"),
        ({"a": [1, None]}, None, b'{"a":[1,null]}', "application/json"),
        (None, None, b"null", "application/json"),
        (msgspec.Raw(b" 1.10 "), None, b" 1.10 ", "application/json"),
        (b"\x00\xff", None, b"\x00\xff", "application/octet-stream"),
        (bytearray(b"<p>"), "text/html; charset=utf-8", b"<p>", "text/html; charset=utf-8"),
        (memoryview(b""), None, b"", "application/octet-stream"),
        (b"[1]", "application/json", b"[1]", "application/json"),
    ],
    ids=repr,
)
def test_bytes_are_sent_as_they_are_and_all_else_as_json(
    node: FakeNode, client: Any, given: Any, media_type: str | None, body: bytes, sent_type: str
) -> None:
    """A value means the same as in `kvctl put` and `PUT /kv`: text is a JSON string."""
    node.says(written())
    client.put("k", given, media_type=media_type)
    assert (node.last.method, node.last.content, node.last.headers["content-type"]) == ("PUT", body, sent_type)


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.put("k", "<p>", media_type="text/html"),
        lambda client: client.put("k", object()),
        lambda client: client.put("k", 1, if_absent=True, if_match=VERSION),
        lambda client: client.put("k", b"", media_type="text/html\r\nX-More: 1"),
        lambda client: client.put("k", 1, if_match="é"),
        lambda client: client.delete("k", if_match=VERSION, idempotency_key="two\nlines"),
        lambda client: client.batch([Put("k", b"1},{", media_type="application/json")]),
        lambda client: client.batch([Put("k", "<p>", media_type="text/html")]),
        lambda client: client.batch([Get("\ud800")]),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_sent(
    node: FakeNode, client: Any, write: Callable[[Any], Any]
) -> None:
    """Text with a media type, two conditions, headers that would end early, and JSON that is none."""
    with pytest.raises(RequestError):
        write(client)
    assert node.requests == []


def test_options_become_parameters_and_headers(node: FakeNode, client: Any) -> None:
    """Each option stands where the API has it, and nowhere when it was not given."""
    node.says(written(status=201))
    assert client.put("k", 1, ttl_s=60, ack="stored", if_absent=True).created
    assert dict(node.last.url.params) == {"ttl": "60", "ack": "stored"}
    assert node.last.headers["if-none-match"] == "*"
    client.delete("k", ack="accepted", if_match=VERSION)
    assert dict(node.last.url.params) == {"ack": "accepted"}
    assert node.last.headers["if-match"] == f'"{VERSION}"'
    client.delete("k", if_match="*")
    assert (node.last.url.query, node.last.headers["if-match"]) == (b"", "*")
    node.says(value())
    client.get("k", from_store=True)
    assert (node.last.url.query, node.last.headers["cache-control"]) == (b"", "no-cache")


def test_a_write_tells_whether_it_is_stored(node: FakeNode, client: Any) -> None:
    """202 is a durable queue's word, 200 the store's."""
    node.says(written(status=202), written())
    assert [client.put("k", 1).stored, client.put("k", 1).stored] == [False, True]


def test_a_value_comes_with_all_that_is_known_of_it(node: FakeNode, client: Any) -> None:
    """Bytes, media type, version, and when it expires."""
    reply = value(b"\x00", media_type="image/png")
    reply.headers["expires-at"] = "2030-01-02T03:04:05.678Z"
    node.says(reply)
    found = client.get("k")
    expires_at = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert found == Value(data=b"\x00", media_type="image/png", version=VERSION, expires_at=expires_at)
    assert not found.is_json


def test_a_missing_key_is_none(node: FakeNode, client: Any) -> None:
    """Missing is no error."""
    node.says(problem(404, "key-not-found"))
    assert client.get("k") is None


def test_a_value_that_is_held_already_is_not_sent_again(node: FakeNode, client: Any) -> None:
    """304 gives the very value that the caller has."""
    node.says(value(), httpx.Response(304, headers={"etag": f'"{VERSION}"'}))
    held = client.get("k")
    assert client.get("k", if_none_match=held) is held
    assert node.last.headers["if-none-match"] == f'"{VERSION}"'


def test_a_version_is_enough_to_ask_for_nothing_but_a_newer_value(node: FakeNode, client: Any) -> None:
    """304 gives the very version that the caller has, 404 still None."""
    node.says(httpx.Response(304, headers={"etag": f'"{VERSION}"'}), value(), problem(404, "key-not-found"))
    assert client.get("k", if_none_match=VERSION) == VERSION
    assert node.last.headers["if-none-match"] == f'"{VERSION}"'
    assert client.get("k", if_none_match=VERSION).data == b'"v"'
    assert client.get("k", if_none_match=VERSION) is None


def test_head_tells_all_of_a_key_but_its_value(node: FakeNode, client: Any) -> None:
    """In one request whose answer has no body; the size is that of the value, whatever stands in between."""
    headers = {"etag": f'"{VERSION}"', "content-type": "image/png", "content-length": "7"}
    node.says(httpx.Response(200, headers=headers | {"expires-at": "2030-01-02T03:04:05Z"}))
    expires_at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert client.head("a/b", from_store=True, min_version=VERSION, wait_s=5) == Listed(
        key="a/b", version=VERSION, size_bytes=7, media_type="image/png", expires_at=expires_at
    )
    assert (node.last.method, node.last.url.raw_path) == (
        "HEAD",
        f"/kv/a%2Fb?min_version={VERSION}&wait=5000".encode(),
    )
    assert (node.last.headers["cache-control"], node.last.headers["accept-encoding"]) == ("no-cache", "identity")
    assert len(node.requests) == 1


def test_what_head_cannot_tell_is_asked_by_get(node: FakeNode, client: Any) -> None:
    """An answer to HEAD has no body: whether the key or the path is missing, and every reason, stands in that of GET."""

    def answer(request: httpx.Request) -> httpx.Response:
        return replies[0] if request.method == "HEAD" else replies[1]

    node.answer = answer
    replies = [httpx.Response(404), problem(404, "key-not-found")]
    assert client.head("k") is None
    replies = [httpx.Response(404), problem(404, "no-such-resource")]
    with pytest.raises(RequestError, match="no-such-resource!"):
        client.head("k")
    replies = [httpx.Response(503), value(b"12")]
    assert client.head("k", min_version=VERSION, wait_s=2).size_bytes == 2
    assert dict(node.last.url.params) == {"min_version": VERSION, "wait": "2000"}
    replies = [httpx.Response(200, headers={"etag": f'"{VERSION}"', "transfer-encoding": "chunked"}), value(b"12")]
    assert client.head("k").size_bytes == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.put(1, 1),
        lambda client: client.put(b"k", 1),
        lambda client: client.get(1),
        lambda client: client.head(None),
        lambda client: client.delete(1),
        lambda client: client.batch([Put("a", 1), Get(1)]),  # type: ignore[arg-type]  # what is to be refused
        lambda client: list(client.keys(b"p")),
        lambda client: client.delete_prefix(b"p"),
    ],
)
def test_a_key_that_is_no_text_is_a_type_error(node: FakeNode, client: Any, ask: Callable[[Any], Any]) -> None:
    """It says what is wanted instead, and nothing is sent; `b"p"` is not taken for the prefix "b'p'"."""
    with pytest.raises(TypeError, match=r"a (key|prefix) is a str, and this is \w+, .*: make text of it first"):
        ask(client)
    assert node.requests == []


@pytest.mark.parametrize("ttl_s", [1.5, 60.0, "60", True], ids=repr)
def test_a_time_to_live_that_is_no_int_is_a_type_error(node: FakeNode, client: Any, ttl_s: Any) -> None:
    """It says what is wanted instead, alone and in a batch, and nothing is sent."""
    for ask in each(lambda: client.put("k", 1, ttl_s=ttl_s), lambda: client.batch([Put("k", 1, ttl_s=ttl_s)])):
        with pytest.raises(TypeError, match=f"ttl_s is whole seconds as an int, .*{ttl_s!r}"):
            ask()
    assert node.requests == []


def test_a_value_that_ends_at_no_time_is_no_answer_of_a_node(node: FakeNode, client: Any) -> None:
    """A header field that cannot be read is an error of kvcore's, as every answer that is none of a node."""
    node.says(httpx.Response(200, headers={"etag": f'"{VERSION}"', "expires-at": "soon"}, content=b"1"))
    with pytest.raises(RequestError, match="is it a node"):
        client.get("k")


def test_a_value_without_a_version_is_no_answer_of_a_node(node: FakeNode, client: Any) -> None:
    """Whatever page listens at the URL is not taken for the value."""
    node.says(httpx.Response(200, headers={"etag": '"abc"'}, text="<html>"))
    with pytest.raises(RequestError, match="is it a node"):
        client.get("k")


def test_pages_are_asked_for_as_they_are_needed(node: FakeNode, client: Any) -> None:
    """The listing goes on at the cursor, through pages without keys too, and ends where there is none."""
    node.says(listed("a", "b", cursor="c1"), listed(cursor="c2"), listed("c"))
    found = client.keys("p/ &", page_size=2)
    assert next(found).key == "a"
    assert len(node.requests) == 1
    assert [line.key for line in found] == ["b", "c"]
    assert [dict(request.url.params) for request in node.requests] == [
        {"prefix": "p/ &", "limit": "2"},
        {"prefix": "p/ &", "limit": "2", "cursor": "c1"},
        {"prefix": "p/ &", "limit": "2", "cursor": "c2"},
    ]


def test_a_listing_can_have_values(node: FakeNode, client: Any) -> None:
    """JSON as it was written, a `null` too, and bytes."""
    node.says(
        listed("a", cursor="c1", value=None),
        listed("b", value_base64=b64encode(b"\x00").decode(), media_type="image/png"),
    )
    first, second = client.keys(values=True)
    assert dict(node.requests[0].url.params)["values"] == "true"
    assert (first.value.data, first.value.json()) == (b"null", None)
    assert (second.value.data, second.value.media_type) == (b"\x00", "image/png")
    node.says(listed("a"))
    assert next(client.keys()).value is None


def test_a_prefix_is_deleted_page_by_page(node: FakeNode, client: Any) -> None:
    """The pages are added up, and progress is told after each."""

    def page(deleted: int, cursor: str | None) -> httpx.Response:
        return httpx.Response(200, json={"data": {"deleted": deleted}, "cursor": cursor})

    node.says(page(2, "c1"), page(0, "c2"), page(1, None))
    seen: list[int] = []
    assert client.delete_prefix("p/", ack="stored", progress=seen.append) == 3
    assert seen == [2, 2, 3]
    assert dict(node.last.url.params) == {"prefix": "p/", "limit": "1000", "cursor": "c2", "ack": "stored"}


# --- batches ----------------------------------------------------------------------------------------------------------


def answering_each(request: httpx.Request) -> httpx.Response:
    """Answer a batch: every write is stored, every read finds 1."""
    lines = []
    for operation in json.loads(request.content)["operations"]:
        line = {"status": 200, "key": operation["key"], "version": VERSION}
        read = {"value": 1, "media_type": "application/json", "expires_at": None}
        lines.append(line | (read if operation["op"] == "get" else {"detail": "stored"}))
    return httpx.Response(200, json={"data": lines})


def sent_keys(node: FakeNode) -> list[list[str]]:
    """Return the keys of each batch that was sent."""
    return [[one["key"] for one in json.loads(request.content)["operations"]] for request in node.requests]


def test_operations_are_sent_in_the_form_of_the_api(node: FakeNode, client: Any) -> None:
    """JSON as a value, bytes in base64, conditions and lifetimes where they were given."""
    node.answer = answering_each
    client.batch(
        [
            Put("a", "text", ttl_s=5, if_match=VERSION),
            Put("b", b"\x00", media_type="image/png", if_absent=True, idempotency_key="n"),
            Get("c"),
            Delete("d", if_match="*", idempotency_key="m"),
        ],
        ack="stored",
    )
    assert dict(node.last.url.params) == {"ack": "stored"}
    assert json.loads(node.last.content)["operations"] == [
        {"op": "put", "key": "a", "value": "text", "ttl": 5, "if_match": VERSION},
        {
            "op": "put",
            "key": "b",
            "value_base64": "AA==",
            "media_type": "image/png",
            "if_none_match": "*",
            "idempotency_key": "n",
        },
        {"op": "get", "key": "c"},
        {"op": "delete", "key": "d", "if_match": "*", "idempotency_key": "m"},
    ]


def test_each_operation_has_its_result(node: FakeNode, client: Any) -> None:
    """Written, value, missing, or the error that the operation alone would have raised."""
    lost = {"type": "/problems/condition-failed", "title": "", "status": 412, "detail": "too late"}
    missing = {"type": "/problems/key-not-found", "title": "", "status": 404}
    down = {"type": "/problems/unavailable", "title": "", "status": 503, "outcome": "not-applied"}
    lines = [
        {"status": 201, "key": "a", "version": VERSION, "detail": "stored"},
        {"status": 412, "key": "b", "problem": lost},
        {"status": 404, "key": "c", "problem": missing},
        {
            "status": 200,
            "key": "d",
            "version": VERSION,
            "value": None,
            "media_type": "application/json",
            "expires_at": None,
        },
        {"status": 503, "key": "e", "problem": down},
    ]
    node.says(httpx.Response(200, json={"data": lines}), httpx.Response(200, json={"data": lines[-1:]}))
    created, failed, absent, found, unavailable = client.batch([Get(key) for key in "abcde"])
    assert (created.created, created.stored) == (True, True)
    assert isinstance(failed, ConditionFailedError)
    assert str(failed) == "too late"
    assert absent is None
    assert found.data == b"null"
    assert isinstance(unavailable, UnavailableError)
    assert unavailable.outcome == "not-applied"


def test_a_batch_is_split_at_the_limits_of_a_request(node: FakeNode, client: Any) -> None:
    """By number, by size and at a key that is there already, and the results stay in order."""
    node.answer = answering_each
    assert len(client.batch((Get(str(number)) for number in range(25)), max_operations=10)) == 25
    assert [len(keys) for keys in sent_keys(node)] == [10, 10, 5]
    node.requests.clear()
    client.batch([Put(key, "x" * 100) for key in "abc"], max_bytes=300)
    assert sent_keys(node) == [["a", "b"], ["c"]]
    assert all(len(request.content) < 330 for request in node.requests)
    node.requests.clear()
    client.batch([Put("a", 1), Get("b"), Get("a"), Delete("a")])
    assert sent_keys(node) == [["a", "b"], ["a"], ["a"]]


def test_another_number_of_results_is_no_answer_of_a_node(node: FakeNode, client: Any) -> None:
    """No result is given to an operation that it may not belong to."""
    node.says(httpx.Response(200, json={"data": []}))
    with pytest.raises(RequestError, match="is it a node"):
        client.batch([Get("a")])


def test_an_operation_that_cannot_be_sent_keeps_a_batch_from_being_begun(node: FakeNode, client: Any) -> None:
    """Else what was done before it would be done, and forgotten."""
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        client.batch([Put("a", 1), Put("b", 1), Put("c", object())], max_operations=1)
    assert node.requests == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused(node: FakeNode, client: Any, number: float) -> None:
    """It would arrive as null, which is another value. What is null by itself is sent, however deep."""
    for ask in each(lambda: client.put("a", [number, None]), lambda: client.batch([Put("a", {"b": number})])):
        with pytest.raises(RequestError, match="cannot be written as JSON"):
            ask()
    assert node.requests == []
    node.says(written())
    client.put("a", {"b": [None, msgspec.Raw(b"null")]})
    assert node.last.content == b'{"b":[null,null]}'


@pytest.mark.parametrize(
    "strange",
    [{1, 2}, {1: "a"}, {"a": [b"xy"]}, {"a": datetime(2030, 1, 1, tzinfo=UTC)}, [Decimal(1)], {None: 1}, Listed],
    ids=str,
)
def test_what_would_come_back_as_something_else_is_refused(node: FakeNode, client: Any, strange: Any) -> None:
    """Nothing becomes a list, a text or another key by itself."""
    for ask in each(lambda: client.put("a", strange), lambda: client.batch([Put("a", strange)])):
        with pytest.raises(RequestError, match="cannot be written as JSON"):
            ask()
    assert node.requests == []


def test_a_condition_is_a_version_and_not_a_value(node: FakeNode, client: Any) -> None:
    """Whoever passes what they have read is told what of it to pass."""
    node.says(value())
    read = client.get("k")
    for ask in each(lambda: client.put("k", 1, if_match=read), lambda: client.delete("k", if_match=read)):
        with pytest.raises(TypeError, match=r"value\.version"):
            ask()
    assert len(node.requests) == 1


def test_no_operations_are_no_request(node: FakeNode, client: Any) -> None:
    """The API refuses an empty batch; its result is known without asking."""
    assert client.batch([]) == []
    assert node.requests == []


def test_a_request_that_fails_first_raises(node: FakeNode, client: Any) -> None:
    """Where there is no result at all the error is the caller's."""
    node.says(problem(403, "forbidden"))
    with pytest.raises(KvcoreError):
        client.batch([Get("a"), Get("b")], max_operations=1)
    assert len(node.requests) == 1


def test_results_survive_a_request_that_fails_later(node: FakeNode, client: Any) -> None:
    """What was done stays known, what failed has the error, and what was not sent says so."""
    node.says(written(), problem(403, "forbidden"))
    node.replies[0] = answering_each(
        httpx.Request("POST", "http://n", content=b'{"operations":[{"op":"put","key":"a"}]}')
    )
    done, failed, unsent = client.batch([Put(key, 1) for key in "abc"], max_operations=1)
    assert done.version == VERSION
    assert "forbidden" in str(failed)
    assert isinstance(unsent, UnavailableError)
    assert (unsent.outcome, len(node.requests)) == ("not-applied", 2)


def test_a_value_that_did_not_fit_is_read_alone(node: FakeNode, client: Any) -> None:
    """The bound on the values of one batch is not the caller's concern."""
    large = {"type": "/problems/answer-too-large", "title": "", "status": 413}
    node.says(httpx.Response(200, json={"data": [{"status": 413, "key": "a/b", "problem": large}]}), value(b"1"))
    assert client.batch([Get("a/b")])[0].data == b"1"
    assert node.last.url.raw_path == b"/kv/a%2Fb"


# --- who asks, and where ----------------------------------------------------------------------------------------------


def test_the_token_goes_with_every_request_and_is_shown_nowhere(node: FakeNode, connect: Connect) -> None:
    """It is a header, and stands in no repr, error or pickle."""
    for token in (TOKEN, Secret(TOKEN)):
        client = connect(token=token)
        node.says(problem(401, "unauthenticated"))
        with pytest.raises(KvcoreError) as raised:
            client.session().get("k")
        assert node.last.headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in f"{raised.value!r} {client!r} {vars(Client('http://n', token=token))}"
    with pytest.raises(TypeError):
        pickle.dumps(Client("http://n", token=TOKEN)._endpoint)


@pytest.mark.parametrize("token", ["", "two words", f"{TOKEN}\n", "é"], ids=repr)
def test_what_is_no_token_is_refused_without_being_shown(connect: Connect, token: str) -> None:
    """A line end at the end of a file, say, is named as what it is."""
    with pytest.raises(RequestError, match="token") as raised:
        connect(token=token)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("url", ["http://node/kv", "http://node/kv/", "https://node/base/kv"])
def test_a_url_of_keys_is_refused(url: str) -> None:
    """Else `put("a", …)` would write the key "kv/a", and nobody would notice."""
    with pytest.raises(RequestError, match="leave out /kv"):
        Client(url)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://host", "http://", "http://h:port", "http://[::", "http://h/?a=b"]
)
def test_what_is_no_url_of_a_node_is_refused(url: str) -> None:
    """At once, and it is named."""
    for kind in (Client, AsyncClient):
        with pytest.raises(RequestError, match="is not the URL of a node"):
            kind(url)


def test_a_password_in_the_url_is_refused_without_being_shown() -> None:
    """URLs end up in logs."""
    with pytest.raises(RequestError) as raised:
        Client(f"http://me:{TOKEN}@node")
    assert TOKEN not in str(raised.value)


def test_a_node_can_be_below_a_path() -> None:
    """The path of the URL stands before every other."""
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return value()

    for url in ("http://node/below/it", "http://node/below/it/"):
        Client(url, http=httpx.Client(transport=httpx.MockTransport(answer))).get("..")
    assert asked == [b"/below/it/kv/%2E%2E"] * 2


def test_who_makes_an_http_client_closes_it() -> None:
    """One's own is closed with the client, one that was passed in is not, and a session closes nothing."""
    http = httpx.Client()
    with Client(http=http) as client:
        client.session().close()
    assert not http.is_closed
    http.close()
    with Client() as client, client.session():
        pass
    assert client._http.is_closed


async def test_an_async_client_closes_what_is_its_own() -> None:
    """As the other one does."""
    async with httpx.AsyncClient() as http, AsyncClient(http=http):
        pass
    async with AsyncClient() as client:
        async with client.session():
            pass
        assert not client._http.is_closed
    assert client._http.is_closed


def test_the_client_is_typed() -> None:
    """Type checkers find the marker next to the package."""
    assert (Path(inspect.getfile(Client)).parents[1] / "py.typed").exists()
