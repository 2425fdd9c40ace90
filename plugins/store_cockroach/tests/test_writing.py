"""The guarded apply where the conformance suite cannot look: refusals, lost answers, several stores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from kvcore.errors import UnavailableError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version
from kvcore_store_cockroach import CockroachSettings, CockroachStore, open_cockroach

Execute = Callable[[CockroachSettings, str], Awaitable[None]]


def version(number: int) -> Version:
    """Return a version by its place in the order."""
    return Version(f"{number:024x}")


def put(key: str, number: int = 1, expected: Version | None = None, value: bytes | None = b"value") -> Mutation:
    """Return a write."""
    return Mutation(key, Entry(version(number), value), expected)


# --- what the server refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poisoned", [0, 1, 4, 9])
@pytest.mark.parametrize("expected", [None, ZERO, PRESENT])
async def test_what_the_database_refuses_is_rejected_alone(
    own: CockroachSettings, execute: Execute, poisoned: int, expected: Version | None
) -> None:
    """Of a batch in which the server refuses a row, that row is rejected with the server's words, and all others are applied."""
    async with open_cockroach(own) as store:
        keys = [f"key {number}" for number in range(10)]
        if expected == PRESENT:
            await store.apply([put(key) for key in keys])
        await execute(own, "ALTER TABLE kv ADD CONSTRAINT small CHECK (octet_length(value) < 100)")
        mutations = [put(key, 2, expected) for key in keys]
        mutations[poisoned] = put(keys[poisoned], 2, expected, bytes(200))
        outcomes = await store.apply(mutations)
        held = version(1) if expected == PRESENT else ZERO
        rejected = outcomes[poisoned]
        assert (rejected.verdict, rejected.version, rejected.exists) == (Verdict.REJECTED, held, held != ZERO)
        assert "small" in rejected.reason
        others = [outcome for number, outcome in enumerate(outcomes) if number != poisoned]
        assert others == [Outcome(Verdict.APPLIED, version(2), True)] * 9


async def test_what_is_no_text_is_rejected_alone(store: CockroachStore) -> None:
    """A media type that UTF-8 cannot write is rejected, and the rest of its batch applied."""
    bad = Mutation("no text/1", Entry(version(1), b"", "text/\ud800"))
    outcomes = await store.apply([put("no text/0"), bad, put("no text/2")])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.REJECTED, Verdict.APPLIED]
    assert "UTF-8" in outcomes[1].reason


async def test_the_longest_key_may_be_of_any_text(store: CockroachStore) -> None:
    """A key at the limit is kept, even if it is of random characters, which no server can compress."""
    await store.ping()
    dice, limit = random.Random(1), store.limits.max_key_bytes
    key = "".join(chr(dice.randrange(0x10000, 0x110000)) for _ in range(limit // 4))
    assert [outcome.verdict for outcome in await store.apply([put(key)])] == [Verdict.APPLIED]
    assert list(await store.get([key])) == [put(key).entry]


async def test_a_store_that_has_met_no_server_applies_the_servers_limits(migrated: CockroachSettings) -> None:
    """Limits are those of the server, also in the first call of all."""
    async with open_cockroach(migrated) as store:
        least = store.limits
        key = "first/" + "k" * least.max_key_bytes
        (outcome,) = await store.apply([put(key)])
        assert store.limits.max_key_bytes >= least.max_key_bytes
        fits = len(key) <= store.limits.max_key_bytes
        assert outcome.verdict is (Verdict.APPLIED if fits else Verdict.REJECTED)


async def test_large_values_travel_in_several_statements(store: CockroachStore) -> None:
    """A call with more than one statement can carry is applied all the same."""
    mutations = [put(f"large/{number}", value=bytes(3 << 20)) for number in range(4)]
    assert {outcome.verdict for outcome in await store.apply(mutations)} == {Verdict.APPLIED}
    found = await store.get([mutation.key for mutation in mutations])
    assert [entry is not None and len(entry.value or b"") for entry in found] == [3 << 20] * 4


# --- several at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [ZERO, PRESENT, version(1)], ids=["create", "present", "update"])
async def test_of_several_stores_one_writer_wins(migrated: CockroachSettings, expected: Version) -> None:
    """Of conditional writes at once on one version, over two stores, exactly one is applied; a delete ends `present`."""
    async with open_cockroach(migrated) as first, open_cockroach(migrated) as second:
        for trial in range(5):
            key = f"race/{expected}/{trial}"
            if expected != ZERO:
                await first.apply([put(key)])
            value = None if expected == PRESENT else b"mine"
            writes = [put(key, number, expected, value) for number in range(2, 42)]
            calls = [(first, second)[number % 2].apply([write]) for number, write in enumerate(writes)]
            verdicts = [outcome.verdict for (outcome,) in await asyncio.gather(*calls)]
            assert (verdicts.count(Verdict.APPLIED), verdicts.count(Verdict.CONFLICT)) == (1, 39)
            assert list(await second.get([key])) == [writes[verdicts.index(Verdict.APPLIED)].entry]


# --- answers that are lost --------------------------------------------------------------------------------------------


@pytest.fixture
async def behind(own: CockroachSettings, proxy: Any) -> AsyncIterator[CockroachStore]:
    """Yield a store that reaches a server through the proxy, with its statements prepared."""
    async with open_cockroach(msgspec.structs.replace(own, hosts=(proxy.address,), connections=1)) as store:
        await store.apply([put("warm"), put("warmer", expected=ZERO), put("warmest", expected=PRESENT)])
        yield store


@pytest.mark.parametrize(("held", "expected"), [(0, None), (0, ZERO), (1, None), (1, PRESENT), (1, version(1))])
async def test_a_write_whose_answer_is_lost_counts_as_applied(
    behind: CockroachStore, proxy: Any, held: int, expected: Version | None
) -> None:
    """A statement is sent again when its answer is lost; what the first had done is recognised by its version."""
    if held:
        await behind.apply([put("marked")])
    proxy.lose_answer_to = b"marked"
    assert list(await behind.apply([put("marked", 2, expected)])) == [Outcome(Verdict.APPLIED, version(2), True)]
    assert proxy.lost == 1


@pytest.mark.parametrize(("held", "expected"), [(0, None), (0, ZERO), (1, PRESENT), (1, version(1))])
async def test_a_write_that_may_have_been_overwritten_is_unknown(
    own: CockroachSettings, behind: CockroachStore, proxy: Any, held: int, expected: Version | None
) -> None:
    """When something newer has come between a lost answer and the repeat, nobody can say what became of the first try."""
    async with open_cockroach(own) as other:
        if held:
            await other.apply([put("marked")])
        proxy.meanwhile = partial(other.apply, [put("marked", 9, value=None)])
        proxy.lose_answer_to = b"marked"
        (outcome,) = await behind.apply([put("marked", 2, expected)])
    assert outcome == Outcome(Verdict.UNKNOWN, version(9), False)


async def test_what_was_never_in_doubt_is_decided(behind: CockroachStore, proxy: Any) -> None:
    """A conflict is a conflict, also in a batch in which another statement's answer was lost."""
    await behind.apply([put("held", 5)])
    proxy.lose_answer_to = b"marked"
    outcomes = await behind.apply([put("marked", 2), put("held", 6, version(4))])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.CONFLICT]


async def test_an_answer_lost_for_good_leaves_the_outcome_unknown(
    own: CockroachSettings, behind: CockroachStore, proxy: Any
) -> None:
    """When the repeat reaches no server, the error says that the write may have been applied; and it was."""

    async def refuse() -> None:
        proxy.refusing = True

    proxy.meanwhile = refuse
    proxy.lose_answer_to = b"marked"
    with pytest.raises(UnavailableError) as caught:
        await behind.apply([put("marked")])
    assert caught.value.outcome == "unknown"
    async with open_cockroach(own) as other:
        assert list(await other.get(["marked"])) == [put("marked").entry]


async def test_a_batch_that_is_done_in_part_has_an_unknown_outcome(
    behind: CockroachStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a batch takes two statements, and the second reaches no server, the error does not say that nothing was applied."""
    send, sent = behind._executor.rows, []

    async def first_only(name: str, *arguments: Any, **keywords: Any) -> Any:
        sent.append(name)
        if len(sent) > 1:
            raise UnavailableError("gone", outcome="not-applied")
        return await send(name, *arguments, **keywords)

    monkeypatch.setattr(behind._executor, "rows", first_only)
    with pytest.raises(UnavailableError) as caught:
        await behind.apply([put("plain"), put("warm", 2, PRESENT)])
    assert caught.value.outcome == "unknown"
    assert sent == ["upsert", "update"]


async def test_a_server_that_cannot_be_reached_has_done_nothing(own: CockroachSettings, proxy: Any) -> None:
    """When no connection can be made, the error says that nothing was applied."""
    proxy.refusing = True
    async with open_cockroach(msgspec.structs.replace(own, hosts=(proxy.address,))) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.apply([put("key")])
    assert caught.value.outcome == "not-applied"
