"""Requests that are sent again: what the conformance suite cannot bring about on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from kvcore.errors import UnavailableError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore.testing import eventually
from kvcore_store_cockroach import CockroachSettings, CockroachStore, open_cockroach
from kvcore_store_cockroach.connecting import connect

KEY = "marked"


def version(number: int) -> Version:
    """Return a version by its place in the order."""
    return Version(f"{number:024x}")


def put(key: str, number: int, expected: Version | None = None) -> Mutation:
    """Return a write that is no request."""
    return Mutation(key, Entry(version(number), b"value"), expected)


def request(number: int, expected: Version, key: str = KEY) -> Mutation:
    """Return one stamp of the request to write the key on a condition."""
    return Mutation(key, Entry(version(number), b"value"), expected, sha256(f"{expected} {key}".encode()).digest())


CONDITIONS = pytest.mark.parametrize("expected", [ZERO, PRESENT, version(1)], ids=["create", "present", "update"])


@pytest.fixture
async def behind(own: CockroachSettings, proxy: Any) -> AsyncIterator[CockroachStore]:
    """Yield a store that reaches a server through the proxy, with its statements prepared."""
    async with open_cockroach(msgspec.structs.replace(own, hosts=(proxy.address,), connections=1)) as store:
        conditions = [ZERO, PRESENT, version(7)]
        await store.apply([request(2, expected, f"warm {expected}") for expected in conditions])
        yield store


async def prepare(store: CockroachStore, expected: Version) -> None:
    """Bring about that the condition holds."""
    if expected != ZERO:
        await store.apply([put(KEY, 1)])


# --- answers that are lost --------------------------------------------------------------------------------------------


@CONDITIONS
async def test_a_request_whose_answer_is_lost_is_not_in_doubt(
    own: CockroachSettings, behind: CockroachStore, proxy: Any, expected: Version
) -> None:
    """When something newer has come between a lost answer and the repeat, the request has been applied all the same."""
    await prepare(behind, expected)
    async with open_cockroach(own) as other:
        proxy.meanwhile = partial(other.apply, [put(KEY, 9)])
        proxy.lose_answer_to = KEY.encode()
        assert list(await behind.apply([request(2, expected)])) == [Outcome(Verdict.APPLIED, version(2), True)]
        assert proxy.lost == 1
        assert list(await other.get([KEY])) == [put(KEY, 9).entry]


async def test_a_lost_answer_of_another_stamp_is_the_answer(
    own: CockroachSettings, behind: CockroachStore, proxy: Any
) -> None:
    """When another node has answered the request in between, that is the answer here too."""
    await behind.apply([put(KEY, 5)])
    async with open_cockroach(own) as other:
        await other.apply([request(6, PRESENT)])
        proxy.lose_answer_to = KEY.encode()
        assert list(await behind.apply([request(7, PRESENT)])) == [Outcome(Verdict.APPLIED, version(6), True)]
        assert list(await other.get([KEY])) == [request(6, PRESENT).entry]


async def test_a_conflict_whose_remembering_is_in_doubt_is_one(behind: CockroachStore, proxy: Any) -> None:
    """A conflict is told as such though the connection was lost while it was being remembered, and stays one."""
    missing = request(2, PRESENT)
    # The third statement with the key or the id of this request remembers the outcome.
    proxy.lose_answer_to = b"conflict"
    assert [outcome.verdict for outcome in await behind.apply([missing])] == [Verdict.CONFLICT]
    assert proxy.lost == 1
    await behind.apply([put(KEY, 3)])
    assert [outcome.verdict for outcome in await behind.apply([request(4, PRESENT)])] == [Verdict.CONFLICT]


async def test_a_call_that_is_done_in_part_has_an_unknown_outcome(
    store: CockroachStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the writes of a call are done, and its requests reach no server, the error does not say that nothing was applied."""
    send = store._executor.rows

    async def plain_only(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.endswith("_once"):
            raise UnavailableError("gone", outcome="not-applied")
        return await send(name, *arguments, **keywords)

    monkeypatch.setattr(store._executor, "rows", plain_only)
    for others, fate in (([], "not-applied"), ([put("in part/plain", 2)], "unknown")):
        with pytest.raises(UnavailableError) as caught:
            await store.apply([*others, request(2, ZERO, "in part/request")])
        assert caught.value.outcome == fate


# --- two at the same moment -------------------------------------------------------------------------------------------

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@CONDITIONS
@pytest.mark.parametrize("commits", [True, False])
async def test_who_finds_another_answering_waits_for_what_that_comes_to(
    own: CockroachSettings, expected: Version, commits: bool
) -> None:
    """Two that both found no answer are told apart by the primary key: the second is undone, and has the first's answer."""
    first = Outcome(Verdict.CONFLICT, version(3), False)
    mutation, neighbour = request(4, expected), request(4, ZERO, "neighbour")
    async with open_cockroach(own) as store, await connect(own, own.hosts[0]) as other:
        if other.server.kind == "CockroachDB":
            pytest.skip("CockroachDB lets nobody read what another is about to write")
        await prepare(store, expected)
        await other.execute("BEGIN")
        await other.execute(
            "INSERT INTO answered VALUES (%s, 1, %s)", (mutation.request_id, msgspec.json.encode(first).decode())
        )
        apply = asyncio.create_task(store.apply([mutation, neighbour]))

        async def waits() -> bool:
            async with await connect(own, own.hosts[0]) as watching:
                ((count,),) = await (await watching.execute(WAITING)).fetchall()
            return bool(count)

        await eventually(waits, what="the second one at the primary key")
        await other.execute("COMMIT" if commits else "ROLLBACK")
        applied = Outcome(Verdict.APPLIED, version(4), True)
        assert list(await apply) == [first if commits else applied, applied]
        (held,) = await store.get([KEY])
        assert (held == mutation.entry) is not commits
