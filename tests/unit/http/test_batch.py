"""Batches and listings on fakes: what they ask of the tiers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPReceiveMessage

from kvcore.access import ANYBODY
from kvcore.errors import UnavailableError
from kvcore.http.answers import Answer
from kvcore.http.batch import batch_handlers
from kvcore.http.gate import _GRANT
from kvcore.http.keys import listing_handlers
from kvcore.metrics import Metrics
from kvcore.model import Entry, Version
from kvcore.settings import LimitSettings, StoreSettings
from tests.unit.core.stage import Stage, settings_of

MANY = 200


@pytest.fixture(params=[True, False], ids=["with a queue", "without a queue"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Give the tiers, and a node's service on them."""
    stage = Stage(with_queue=request.param)
    yield stage
    await stage.service.aclose()


async def asked(stage: Stage, method: str, query: str, body: Any = None, **limits: int) -> Any:
    """Ask the handler of a method, and return the status and what it answers; problems are raised."""
    return await ask(handlers_of(stage, **limits), method, query, body)


def handlers_of(stage: Stage, **limits: int) -> list[HTTPRouteHandler]:
    """Return the handlers of a node."""
    settings = LimitSettings(**limits)
    return [
        *listing_handlers(stage.service, settings.page_bytes),
        *batch_handlers(stage.service, settings, Metrics().http.batch_operations),
    ]


async def ask(
    handlers: list[HTTPRouteHandler], method: str, query: str, body: Any = None, *more: tuple[bytes, bytes]
) -> Any:
    """Ask that one of the handlers which is for a method, with more header fields if given."""
    (handler,) = (handler for handler in handlers if method in handler.http_methods)
    sent = json.dumps(body).encode()

    async def receive() -> HTTPReceiveMessage:
        return {"type": "http.request", "body": sent, "more_body": False}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(sent)), *more]
    scope: Any = {"type": "http", "method": method, "headers": headers, "query_string": query.encode()}
    scope[_GRANT] = ANYBODY
    answer = await handler.fn(Request(scope, receive))
    assert isinstance(answer, Answer)
    return json.loads(answer.body)


async def batch(stage: Stage, operations: list[dict[str, Any]], **limits: int) -> list[dict[str, Any]]:
    """Run a batch and return its results."""
    results: list[dict[str, Any]] = (await asked(stage, "POST", "", {"operations": operations}, **limits))["data"]
    return results


def batches(stage: Stage, **limits: int) -> Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]]:
    """Return how to run batches on one node, one after the other."""
    handlers = handlers_of(stage, **limits)

    async def run(operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = (await ask(handlers, "POST", "", {"operations": operations}))["data"]
        return results

    return run


def calls(stage: Stage) -> dict[str, Counter[str]]:
    """Return the bulk calls of each tier since the last time."""
    made = {kind: Counter(getattr(stage, kind).faults.calls) for kind in ("cache", "queue", "store")}
    for kind in made:
        getattr(stage, kind).faults.calls.clear()
    return made


def stored(stage: Stage, count: int) -> None:
    """Put keys into the store behind the node's back."""
    for number in range(count):
        stage.store.entries[f"key {number:03}"] = Entry(Version(f"{number + 1:024x}"), b"%d" % number)


async def test_a_batch_of_writes_is_one_bulk_call_of_each_kind(stage: Stage) -> None:
    """200 puts, and 200 deletes, cost each tier as many calls as one alone."""
    write = (
        {"cache": Counter(reserve=1, install=1), "queue": Counter({"publish writes": 1}), "store": Counter()}
        if stage.with_queue
        else {"cache": Counter(reserve=1, refresh=1), "queue": Counter(), "store": Counter(apply=1)}
    )
    puts = await batch(stage, [{"op": "put", "key": f"key {number}", "value": number} for number in range(MANY)])
    assert calls(stage) == write
    deletes = await batch(stage, [{"op": "delete", "key": f"key {number}"} for number in range(MANY)])
    assert calls(stage) == write
    assert {result["status"] for result in [*puts, *deletes]} == {202 if stage.with_queue else 200}


async def test_a_batch_of_gets_is_one_bulk_call_of_each_kind(stage: Stage) -> None:
    """1,000 gets of what the cache does not have ask each tier once for each step; of what it has, they ask the cache once."""
    stored(stage, 1000)
    gets = [{"op": "get", "key": f"key {number:03}"} for number in range(1000)]
    missed = await batch(stage, gets)
    assert calls(stage) == {
        "cache": Counter(read=1, reserve=1, install=1),
        "queue": Counter(),
        "store": Counter(get=1),
    }
    hit = await batch(stage, gets)
    assert calls(stage) == {"cache": Counter(read=1), "queue": Counter(), "store": Counter()}
    assert [result["value"] for result in missed] == [result["value"] for result in hit] == list(range(1000))


async def test_gets_of_a_batch_read_the_store_if_asked(stage: Stage) -> None:
    """With `Cache-Control: no-cache` the cache is not asked, though it has the keys, and the store is asked once for all."""
    stored(stage, MANY)
    gets = [{"op": "get", "key": f"key {number:03}"} for number in range(MANY)]
    await batch(stage, gets)
    stored_anew = Entry(Version(f"{MANY + 1:024x}"), b'"new"')
    stage.store.entries["key 000"] = stored_anew
    calls(stage)
    no_cache = (b"cache-control", b"max-age=0, no-cache")
    results = (await ask(handlers_of(stage), "POST", "", {"operations": gets}, no_cache))["data"]
    assert calls(stage) == {"cache": Counter(), "queue": Counter(), "store": Counter(get=1)}
    assert [result["value"] for result in results] == ["new", *range(1, MANY)]


async def test_a_batch_reads_hardly_more_than_it_answers_with(stage: Stage) -> None:
    """Of 1,000 values of which few fit into the answer, the first batch may read many; later ones expect such values."""
    stored(stage, 1000)
    for key in stage.store.entries:
        stage.store.entries[key] = Entry(Version(f"{1:024x}"), b'"%s"' % (b"1" * 9_998))
    gets = [{"op": "get", "key": f"key {number:03}"} for number in range(1000)]
    run = batches(stage, page_bytes=400_000)
    for read in (97, 40):
        assert [result["status"] for result in await run(gets)] == [200] * 40 + [413] * 960
        assert len(stage.cache.slots) == read
        stage.cache.slots.clear()


async def test_large_values_are_forgotten_slowly(stage: Stage) -> None:
    """One batch of small values after large ones does not make the next one read a thousand large ones at once."""
    stored(stage, 1000)
    for number in range(500):
        stage.store.entries[f"key {number:03}"] = Entry(Version(f"{1:024x}"), b'"%s"' % (b"1" * 99_998))
    run = batches(stage, page_bytes=1_000_000)
    large = [{"op": "get", "key": f"key {number:03}"} for number in range(500)]
    await run(large)
    await run([{"op": "get", "key": "key 999"}])
    stage.cache.slots.clear()
    await run(large)
    assert len(stage.cache.slots) <= 20


async def test_deleting_a_page_is_one_bulk_call_of_each_kind(stage: Stage) -> None:
    """A page of 200 keys is deleted by one scan and as many calls as one delete costs."""
    stored(stage, MANY + 1)
    page = await asked(stage, "DELETE", f"prefix=key&limit={MANY}&ack=accepted")
    assert page["data"] == {"deleted": MANY}
    made = calls(stage)
    assert made["cache"]["reserve"] == 1
    assert made["store"] + made["queue"] == Counter(
        {"scan": 1, "publish writes": 1} if stage.with_queue else {"scan": 1, "apply": 1}
    )


async def pages(stage: Stage, query: str, *, page_bytes: int) -> list[list[dict[str, Any]]]:
    """List to the end, and return the lines of each page."""
    found: list[list[dict[str, Any]]] = []
    cursor = ""
    while True:
        page = await asked(stage, "GET", query + cursor, page_bytes=page_bytes)
        found.append(page["data"])
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"


async def test_values_of_a_page_end_it_early(stage: Stage) -> None:
    """A page with values ends before they and their keys are more than the limit, and its cursor misses nothing."""
    stored(stage, 12)  # each key has 9 bytes with its quotes, and each value 1, but two have 2
    found = await pages(stage, "values=true&limit=10", page_bytes=30)
    assert [len(page) for page in found] == [3, 3, 3, 2, 1]
    assert [line["value"] for page in found for line in page] == list(range(12))


@pytest.mark.parametrize("query", ["limit=10", "limit=10&values=true"])
async def test_large_keys_of_a_page_end_it_early(stage: Stage, query: str) -> None:
    """Keys count as they are written in JSON, with and without values; one that alone is too large has a page of its own."""
    keys = [f"{number:02}" + "\x01" * 100 for number in range(6)]
    for key in keys:
        stage.store.entries[key] = Entry(Version(f"{1:024x}"), b"1")
    assert [len(page) for page in await pages(stage, query, page_bytes=1300)] == [2, 2, 2]
    alone = await pages(stage, query, page_bytes=500)
    assert [line["key"] for page in alone for line in page] == keys
    assert {len(page) for page in alone} == {1}


async def test_values_of_a_batch_are_bounded(stage: Stage) -> None:
    """The answer ends with the first value that does not fit: from there on, each get has a problem of its own."""
    stored(stage, 3)
    stage.store.entries["key 001"] = Entry(Version(f"{9:024x}"), b"1" * 100)
    results = await batch(stage, [{"op": "get", "key": f"key {number:03}"} for number in range(3)], page_bytes=50)
    assert [result["status"] for result in results] == [200, 413, 413]
    assert results[1]["problem"]["type"] == "/problems/answer-too-large"
    (alone,) = await batch(stage, [{"op": "get", "key": "key 001"}], page_bytes=50)
    assert alone["status"] == 200


async def test_a_tier_that_is_down_fails_what_needs_it(stage: Stage) -> None:
    """Each operation has the problem that it would have been answered with alone, with its outcome."""
    stored(stage, 1)
    await batch(stage, [{"op": "get", "key": "key 000"}])
    stage.fail(store="before", queue="before")
    results = await batch(
        stage,
        [{"op": "get", "key": "key 000"}, {"op": "get", "key": "other"}, {"op": "put", "key": "new", "value": 1}],
    )
    assert [result["status"] for result in results] == [200, 503, 503]
    assert [result["problem"]["outcome"] for result in results[1:]] == ["not-applied", "not-applied"]


async def test_a_page_that_is_deleted_in_part_says_so() -> None:
    """Where some of a page was deleted and the rest certainly was not, it is not said that nothing happened."""
    stage = Stage(with_queue=False, settings=settings_of(store=StoreSettings(backend="fake", batch=1)))
    stored(stage, 3)
    stage.store.faults.planned.extend([None, None, "before"])  # the scan and two of the deletes
    with pytest.raises(UnavailableError) as failed:
        await asked(stage, "DELETE", "prefix=key")
    assert failed.value.outcome == "unknown"
    await stage.service.aclose()
