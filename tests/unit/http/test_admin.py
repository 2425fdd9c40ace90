"""The administration over backends that bury, refuse, and cannot."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import kvcore_queue_memory
from kvcore.backends import DeadLetter, Factory
from kvcore.clock import HybridClock, version_at
from kvcore.config import resolve
from kvcore.errors import UnavailableError
from kvcore.hookspecs import hookimpl
from kvcore.http.app import build_app
from kvcore.model import NEVER, PRESENT, ZERO, Entry, Mutation
from kvcore.runtime import Node, open_node
from kvcore_queue_memory import MemoryQueue
from tests.unit.core.fakes import EPOCH_MS, FakeCache, loop_ms
from tests.unit.core.given_plugins import FakePlugin, fake_plugins

OLD = version_at(EPOCH_MS - 86_400_000)
POSTS = ["cache/clear", "purge", "dead-letters/replay", "dead-letters/discard", "restore"]
OF_LETTERS = ["GET dead-letters", "GET dead-letters/1", "POST dead-letters/replay", "POST dead-letters/discard"]


class DeafCache(FakeCache):
    """A cache that cannot be cleared now."""

    async def clear(self) -> None:
        raise UnavailableError("the server is down", outcome="not-applied")


class Given(FakePlugin):
    """Gives a queue that keeps dead letters, too."""

    @hookimpl
    def kvcore_caches(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeCache), self.factory("deaf", DeafCache)]

    @hookimpl
    def kvcore_queues(self) -> Iterable[Factory[Any]]:
        return [*super().kvcore_queues(), kvcore_queue_memory.FACTORY]


@asynccontextmanager
async def running(**backends: str) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    """Give a node that drains a queue in memory into a fake store, and a client of it."""
    plugins = fake_plugins(Given())
    chosen = {"cache": "fake", "queue": "memory", "store": "fake"} | backends
    environment = {f"KVCORE_{kind.upper()}__BACKEND": name for kind, name in chosen.items()}
    environment |= {"KVCORE_LIMITS__MAX_KEY_BYTES": "100", "KVCORE_LIMITS__MAX_VALUE_BYTES": "65536"}
    environment["KVCORE_WORKER__IN_NODE"] = str(chosen["queue"] != "none").lower()
    resolved = resolve(plugins, environment=environment)
    async with open_node(resolved, plugins, clock=HybridClock(max_ahead_ms=60_000, now_ms=loop_ms)) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/admin") as client:
            yield node, client


async def bury(node: Node, *mutations: Mutation) -> None:
    """Let the queue have dead letters, as a worker leaves them there."""
    queue: MemoryQueue = node.tiers["queue"].backend
    for mutation in mutations:
        queue._bury(mutation, "refused")  # the one way that does not wait for a worker


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the type of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"]


async def test_a_write_that_the_store_refuses_is_shown_and_replayed() -> None:
    """From the refusal to the replay: the letter is listed with its reason, shown with its value, and gone when it is stored."""
    async with running() as (node, client):
        store = node.tiers["store"].backend
        store.poison.add(b'{"a": 1}')
        refused = await client.put(
            "http://localhost/kv?ack=stored", content=b'{"data": {"key": "key", "value": {"a": 1}}}'
        )
        assert problem_of(refused) == (400, "/problems/rejected-by-store")
        (line,) = (await client.get("/dead-letters")).json()["data"]
        assert {name: line[name] for name in line if name not in ("id", "version")} == {
            "key": "key",
            "op": "put",
            "reason": "poison",
            "size": 8,
            "media_type": "application/json",
            "expires_at": None,
            "condition": None,
        }
        letter = (await client.get(f"/dead-letters/{line['id']}")).json()["data"]
        assert letter == line | {"value": {"a": 1}}
        store.poison.clear()
        replayed = await client.post("/dead-letters/replay", json={"ids": [line["id"], "no such"]})
        assert replayed.json() == {"data": {"replayed": 1}}
        await client.get("/queue/lag")  # comes back when what was before it is stored
        assert store.entries["key"].version == line["version"]
        assert (await client.get("/dead-letters")).json() == {"data": []}


@pytest.mark.parametrize(
    ("mutation", "shown", "value"),
    [
        (Mutation("k", Entry(OLD, b"\xff", "image/png")), {"op": "put", "media_type": "image/png"}, {"value_base64": "/w=="}),
        (Mutation("k", Entry(OLD, b"{not json")), {"media_type": "application/json"}, {"value_base64": "e25vdCBqc29u"}),
        (Mutation("k", Entry(OLD, b"null")), {"media_type": "application/json"}, {"value": None}),
        (Mutation("k", Entry(OLD)), {"op": "delete", "media_type": None, "size": 0}, {}),
        (Mutation("k", Entry(OLD, b"1", expires_at_ms=0)), {"expires_at": "1970-01-01T00:00:00Z"}, {"value": 1}),
        (Mutation("k", Entry(OLD, b"1"), ZERO), {"condition": "If-None-Match: *"}, {"value": 1}),
        (Mutation("k", Entry(OLD, b"1"), PRESENT), {"condition": "If-Match: *"}, {"value": 1}),
        (Mutation("k", Entry(OLD, b"1"), OLD), {"condition": f'If-Match: "{OLD}"'}, {"value": 1}),
    ],
)  # fmt: skip
async def test_a_dead_letter_shows_what_it_carries(
    mutation: Mutation, shown: dict[str, Any], value: dict[str, Any]
) -> None:
    """Bytes, what only claims to be JSON, deletes, ends and conditions, each in its own way."""
    async with running() as (node, client):
        await bury(node, mutation)
        letter = (await client.get("/dead-letters/1")).json()["data"]
        assert {name: letter[name] for name in shown} == shown
        assert {name: letter[name] for name in ("value", "value_base64") if name in letter} == value


@pytest.mark.parametrize("id", ["a/0", "/a", "a//b", "a/", "..", "a b?c#d%25", "ключ", "null", "\0"])
async def test_an_id_may_be_any_text(id: str) -> None:  # noqa: A002 - what it is called everywhere
    """It is taken from the path as it was sent, and nothing but percent-encoding is taken away."""
    letter = DeadLetter(id, Mutation("k", Entry(OLD, b"1")), "refused")
    async with running() as (node, client):
        node.tiers["queue"].backend._dead[id] = letter
        encoded = "".join(f"%{byte:02X}" for byte in id.encode())
        answer = await client.get(httpx.URL("http://localhost", raw_path=f"/admin/dead-letters/{encoded}".encode()))
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["id"] == id


async def test_the_oldest_dead_letters_come_first() -> None:
    """As many as were asked for; a limit that is none is refused."""
    async with running() as (node, client):
        await bury(node, *(Mutation(f"k{n}", Entry(OLD, b"1")) for n in range(5)))
        listed = (await client.get("/dead-letters?limit=3")).json()["data"]
        assert [letter["key"] for letter in listed] == ["k0", "k1", "k2"]
        for limit in ("0", "1001", "many"):
            assert problem_of(await client.get(f"/dead-letters?limit={limit}")) == (400, "/problems/invalid-request")
        discarded = await client.post("/dead-letters/discard", json={"ids": [letter["id"] for letter in listed]})
        assert discarded.json() == {"data": {"discarded": 3}}
        assert [letter["key"] for letter in (await client.get("/dead-letters")).json()["data"]] == ["k3", "k4"]


async def test_the_queue_is_told_in_numbers() -> None:
    """What waits, what is in hand and who is at work, by channel; and a probe finds the lag."""
    async with running() as (node, client):
        await bury(node, Mutation("k", Entry(OLD)))
        assert (await client.get("/queue/lag")).json()["data"]["lag_s"] > 0
        channel = {"waiting": 0, "unsettled": 0, "consumers": 1}
        expected = {"channels": {"writes": channel, "refreshes": channel}, "dead_letters": 1}
        assert (await client.get("/queue")).json() == {"data": expected}


async def test_what_a_queue_does_not_know_is_null() -> None:
    """A queue that does not tell of consumers and dead letters says so."""
    async with running(queue="fake") as (_, client):
        told = (await client.get("/queue")).json()["data"]
        assert told["channels"]["writes"] == {"waiting": 0, "unsettled": 0, "consumers": None}
        assert told["dead_letters"] is None


@pytest.mark.parametrize(
    ("queue", "asked"),
    [("none", "GET queue"), ("none", "GET queue/lag"), *itertools.product(("none", "fake"), OF_LETTERS)],
)
async def test_what_the_queue_cannot_do_is_unsupported(queue: str, asked: str) -> None:
    """501 without a queue, and for dead letters on one that keeps none."""
    async with running(queue=queue) as (_, client):
        method, path = asked.split()
        answer = await client.request(method, f"/{path}", json={"ids": ["1"]} if method == "POST" else None)
        assert problem_of(answer) == (501, "/problems/unsupported")


async def test_a_tier_that_is_away_is_told_with_what_became_of_it() -> None:
    """503, with Retry-After and the outcome."""
    async with running(cache="deaf") as (_, client):
        answer = await client.post("/cache/clear", json={})
        assert problem_of(answer) == (503, "/problems/unavailable")
        assert (answer.json()["outcome"], int(answer.headers["retry-after"]) >= 1) == ("not-applied", True)


@pytest.mark.parametrize("path", POSTS)
async def test_what_changes_something_is_sent_as_json(path: str) -> None:
    """Anything else is 415, since a web page could have a browser send it; so is no type at all."""
    async with running() as (_, client):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await client.post(f"/{path}", content=b"{}", headers={"content-type": content_type})
            assert problem_of(answer) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_of_another_form_is_refused(path: str) -> None:
    """Nothing, another type, unknown members, an empty list, and one with what is none."""
    bodies = ["", "[]", "null", '{"a": 1}', '{"ids": [1]}', '{"ids": []}', '{"entries": [{}]}', '{"entries": []}']
    async with running() as (_, client):
        answers = [
            await client.post(f"/{path}", content=body, headers={"content-type": "application/json"}) for body in bodies
        ]
        assert {answer.status_code for answer in answers} == {400}


async def test_conditions_and_parameters_that_mean_nothing_here_are_refused() -> None:
    """A condition that would not be honoured is 400, on a GET and on a POST, and so is an unknown parameter."""
    async with running() as (_, client):
        answers = [
            await client.get("/config", headers={"if-match": "*"}),
            await client.get("/plugins?verbose=1"),
            await client.post("/purge", json={}, headers={"if-none-match": "*"}),
            await client.post("/purge?all=1", json={}),
        ]
        assert {problem_of(answer) for answer in answers} == {(400, "/problems/invalid-request")}


async def test_nobody_keeps_an_answer() -> None:
    """Each says `Cache-Control: no-store`."""
    async with running() as (_, client):
        answers = [await client.get(f"/{path}") for path in ("config", "plugins", "queue", "queue/lag", "dead-letters")]
        answers += [await client.post(f"/{path}", json={}) for path in ("cache/clear", "purge")]
        assert {(answer.status_code, answer.headers["cache-control"]) for answer in answers} == {(200, "no-store")}


RESTORABLE: list[tuple[dict[str, Any], int, str]] = [
    ({"key": "1", "value": None, "version": OLD}, 200, "restored"),
    ({"key": "2", "value_base64": "AP8=", "version": OLD, "media_type": "image/png"}, 200, "restored"),
    ({"key": "3", "value": 1, "version": OLD, "expires_at": "2023-01-01T00:00:00Z"}, 200, "expired"),
    ({"key": "4", "value": 1, "version": OLD, "expires_at": "2030-01-01T02:00:00.123456+02:00"}, 200, "restored"),
    ({"key": "newer", "value": 1, "version": OLD}, 200, "newer"),
    ({"key": "", "value": 1, "version": OLD}, 400, "/problems/invalid-key"),
    ({"key": "k" * 101, "value": 1, "version": OLD}, 414, "/problems/key-too-long"),
    ({"key": "6", "value": "x" * 65_536, "version": OLD}, 413, "/problems/value-too-large"),
    ({"key": "7", "value": 1, "version": "f" * 24}, 400, "/problems/invalid-request"),
    ({"key": "8", "value": "poison", "version": OLD}, 400, "/problems/rejected-by-store"),
]


async def test_each_entry_has_a_result_of_its_own() -> None:
    """What can be restored is, beside what cannot; each result says what became of it, and under which version the key is now."""
    async with running(queue="none") as (node, client):
        store = node.tiers["store"].backend
        store.poison.add(b'"poison"')
        newer = (await client.put("http://localhost/kv", json={"data": {"key": "newer", "value": 2}})).json()["data"]
        answer = await client.post("/restore", json={"entries": [entry for entry, _, _ in RESTORABLE]})
        results = answer.json()["data"]
        assert [
            (one["key"], one["status"], one["detail"] if one["status"] == 200 else one["problem"]["type"])
            for one in results
        ] == [(entry["key"], status, what) for entry, status, what in RESTORABLE]
        assert results[4]["version"] == newer["version"]
        assert store.entries["2"] == Entry(OLD, b"\x00\xff", "image/png")
        assert store.entries["4"] == Entry(OLD, b"1", expires_at_ms=1_893_456_000_123)
        assert store.entries.keys() == {"1", "2", "4", "newer"}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"version": ZERO}, "matching regex"),
        ({"version": NEVER}, "matching regex"),
        ({"version": OLD.upper() + "G"}, "$.entries[1].version"),
        ({"version": None}, "$.entries[1].version"),
        ({"expires_at": "2030-01-01T00:00:00"}, "timezone"),
        ({"expires_at": 1_893_456_000}, "$.entries[1].expires_at"),
        ({"value_base64": "AA=="}, "one of value and value_base64"),
        ({"media_type": "image/png"}, "value_base64"),
        ({"key": "other"}, "among the entries before"),
        ({"ttl": 60}, "unknown field"),
    ],
)  # fmt: skip
async def test_an_entry_of_another_form_is_refused_with_its_place(entry: dict[str, Any], why: str) -> None:
    """The request is refused as a whole, and nothing of it is done."""
    async with running(queue="none") as (node, client):
        entries = [{"key": "other", "value": 1, "version": OLD}, {"key": "key", "value": 1, "version": OLD} | entry]
        answer = await client.post("/restore", json={"entries": entries})
        assert problem_of(answer) == (400, "/problems/invalid-request")
        assert why in answer.json()["detail"]
        assert "$.entries[1]" in answer.json()["detail"]
        assert not node.tiers["store"].backend.entries


async def test_what_claims_to_be_json_is_looked_at() -> None:
    """Bytes of the type of JSON that are none are refused, as in a batch."""
    async with running(queue="none") as (_, client):
        entry = {"key": "key", "value_base64": "ew==", "media_type": "application/json", "version": OLD}
        answer = await client.post("/restore", json={"entries": [entry]})
        assert problem_of(answer) == (400, "/problems/invalid-json")


@pytest.mark.parametrize(
    ("path", "body", "line"),
    [
        ("cache/clear", {}, "clear the cache: done"),
        ("purge", {}, "purge the store: 0 removed"),
        ("dead-letters/replay", {"ids": ["1", "2"]}, "replay dead letters: 1 of 2"),
        ("dead-letters/discard", {"ids": ["1"]}, "discard dead letters: 1 of 1"),
        ("restore", {"entries": [RESTORABLE[0][0], RESTORABLE[5][0]]}, "restore entries: 1 restored, 1 failed"),
    ],
)  # fmt: skip
async def test_who_changes_something_stands_in_the_log(
    path: str, body: dict[str, Any], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line at info of the logger `kvcore.admin`: who, what, and how many."""
    async with running() as (node, client):
        await bury(node, Mutation("k", Entry(OLD, b"1")))
        with caplog.at_level(logging.INFO, logger="kvcore.admin"):
            assert (await client.post(f"/{path}", json=body)).status_code == 200
    assert [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "kvcore.admin"] == [
        ("INFO", f"'anybody' has asked to {line}")
    ]


async def test_what_failed_stands_in_the_log_too(caplog: pytest.LogCaptureFixture) -> None:
    """It may have been done in part; what is only looked at, or refused for its form, is not told."""
    async with running(cache="deaf") as (_, client):
        with caplog.at_level(logging.INFO, logger="kvcore.admin"):
            await client.post("/cache/clear", json={})
            await client.post("/cache/clear", json={"a": 1})
            await client.get("/config")
    lines = [record.getMessage() for record in caplog.records if record.name == "kvcore.admin"]
    assert lines == ["'anybody' has asked to clear the cache: UnavailableError: the server is down"]
