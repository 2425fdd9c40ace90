"""Conditional writes that are sent again under one request id."""

from __future__ import annotations

import asyncio
import os
import random
from typing import ClassVar

import pytest

from kvcore.backends import Ability
from kvcore.errors import ConditionFailedError, RequestError, UnavailableError, UnsupportedError
from kvcore.model import PRESENT, ZERO, Entry, Mutation, Outcome, Verdict, Version, is_final
from kvcore.service import KeyValueService
from tests.unit.core.fakes import FakeStore, Fault
from tests.unit.core.stage import Stage

REQUEST = b"r" * 32
Answer = tuple[str, Version | str | None]
V1, V2, V3 = (Version(f"{n:024x}") for n in (1, 2, 3))


async def answer_of(
    node: KeyValueService, expected: Version, *, value: bytes = b"mine", request_id: bytes = REQUEST
) -> Answer:
    """Send the request, and return what it was answered."""
    try:
        return "written", (await node.put("key", value, expected=expected, request_id=request_id)).version
    except ConditionFailedError as error:
        return "failed", error.version


@pytest.mark.parametrize("with_queue", [True, False])
async def test_a_request_that_has_succeeded_gets_its_answer_again(with_queue: bool) -> None:
    """From whichever node, also when others have overwritten or deleted the key since; and it is applied once."""
    stage = Stage(with_queue=with_queue)
    other = stage.node()
    async with stage.working():
        first = await answer_of(stage.service, ZERO)
        assert first[0] == "written"
        assert await answer_of(other, ZERO) == first
        await other.put("key", b"theirs", ack="stored")
        assert await answer_of(other, ZERO) == first
        await other.delete("key", ack="stored")
        assert await answer_of(stage.service, ZERO) == first
        found = await other.get("key", from_store=True)
    assert found.entry is None
    assert sum(mutation.request_id == REQUEST for mutation in stage.store.history) == 1


async def test_a_request_that_has_failed_gets_its_answer_again() -> None:
    """Also when its condition would hold by now."""
    stage = Stage()
    async with stage.working():
        written = await stage.service.put("key", b"theirs", ack="stored")
        assert await answer_of(stage.service, ZERO) == ("failed", written.version)
        await stage.service.delete("key", ack="stored")
        assert await answer_of(stage.service, ZERO) == ("failed", written.version)
        assert (await answer_of(stage.service, ZERO, request_id=b"s" * 32))[0] == "written"


async def test_a_version_that_is_past_by_the_request_itself_is_no_conflict() -> None:
    """The cache shows the version that the first try has written: only the store knows that it was this request."""
    stage = Stage()
    async with stage.working():
        etag = (await stage.service.put("key", b"old", ack="stored")).version
        first = await answer_of(stage.service, etag)
        await stage.service.get("key")  # fills the slot
        assert await answer_of(stage.service, etag) == first
        assert first[0] == "written"


async def test_a_write_that_was_only_accepted_is_not_lost_to_a_condition_on_the_one_before() -> None:
    """The store does not have it yet, and so finds the condition fulfilled; the cache knows better."""
    stage = Stage()
    async with stage.working():
        etag = (await stage.service.put("key", b"old", ack="stored")).version
    await stage.service.put("key", b"new", ack="accepted")
    stage.queue.faults.planned.append("before")  # the condition overtakes it: it goes to the store itself
    assert await answer_of(stage.service, etag) == ("failed", None)
    async with stage.working():
        await stage.drained()
    assert stage.store.entries["key"].value == b"new"


async def test_a_condition_on_a_version_that_the_store_does_not_have_yet_is_no_answer() -> None:
    """The write that it waits for was accepted; the request is tried until the store has that, and then succeeds."""
    stage = Stage()
    accepted = await stage.service.put("key", b"old", ack="accepted")
    stage.queue.faults.planned.append("before")
    request = asyncio.ensure_future(answer_of(stage.service, accepted.version))
    while not stage.store.faults.calls["apply"]:
        await asyncio.sleep(0)
    async with stage.working():
        assert (await request)[0] == "written"


async def test_what_a_queue_may_have_kept_leaves_no_doubt_about_a_request() -> None:
    """It goes to the store itself when the queue's confirm is lost, and what the store says then is what is remembered."""
    stage = Stage()
    theirs = await stage.service.put("key", b"theirs", ack="accepted")
    async with stage.working():
        await stage.drained()
    stage.queue.faults.planned.append("after")
    assert await answer_of(stage.service, ZERO) == ("failed", theirs.version)


async def test_a_request_id_goes_with_a_condition() -> None:
    """A plain write may be sent again as it is, and is not remembered."""
    stage = Stage()
    with pytest.raises(RequestError, match="condition"):
        await stage.service.put("key", b"value", request_id=REQUEST)
    assert not stage.queue.faults.calls
    assert not stage.store.faults.calls


class ForgetfulStore(FakeStore):
    """A store that does not remember requests."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.DURABLE, Ability.SHARED})


async def test_a_store_that_does_not_remember_requests_is_not_asked_to() -> None:
    """The ability is refused by name before anything is done."""
    stage = Stage()
    node = stage.node(store=ForgetfulStore())
    with pytest.raises(UnsupportedError, match="Idempotency-Key"):
        await node.put("key", b"value", expected=ZERO, request_id=REQUEST)
    with pytest.raises(UnsupportedError, match="list"):
        await node.scan("", limit=1)
    assert not stage.queue.faults.calls


@pytest.mark.parametrize(
    ("expected", "verdict", "version", "final"),
    [
        (ZERO, Verdict.APPLIED, V2, True),
        (ZERO, Verdict.CONFLICT, V2, True),
        (PRESENT, Verdict.CONFLICT, ZERO, True),
        (V2, Verdict.CONFLICT, V3, True),
        (V2, Verdict.CONFLICT, V2, True),  # it has expired
        (V2, Verdict.CONFLICT, V1, False),
        (V2, Verdict.CONFLICT, ZERO, False),
        (V1, Verdict.SUPERSEDED, V3, False),
        (V1, Verdict.REJECTED, V1, False),
        (V1, Verdict.UNKNOWN, V3, False),
    ],
)
def test_which_outcomes_are_final(expected: Version, verdict: Verdict, version: Version, final: bool) -> None:
    """What was applied, and a conflict with something that is not older than the version expected."""
    assert is_final(Mutation("key", Entry(V2), expected), Outcome(verdict, version)) is final


# --- at random ---------------------------------------------------------------------------------------------------------

FAULTS: tuple[Fault, ...] = ("before", "after", "hang", "hang after", "full")


class Case:
    """A client with one request, who repeats it until he has an answer, and others who write the same key meanwhile."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.stage = Stage(with_queue=self.dice.random() < 0.8)
        self.nodes = [self.stage.service, self.stage.node(ahead_ms=self.dice.choice((0, 0, 500)))]
        self.answers: list[Answer] = []

    async def run(self) -> None:
        """Play the case to its end, and check it."""
        stage, dice = self.stage, self.dice
        async with stage.working():
            expected = await self._prepare()
        workers = dice.random() < 0.8
        for _ in range(dice.randrange(1, 4)):
            self._break_something()
            if workers:
                async with stage.working():
                    await asyncio.gather(self._try(expected), self._others())
            else:
                await asyncio.gather(self._try(expected), self._others())
        stage.heal()
        async with stage.working():
            await asyncio.sleep(40)  # of virtual time: what is unknown is settled, and breakers close
            await stage.drained()
            while len(self.answers) < 3:
                await self._try(expected, patient=True)
                await self._others()
            await stage.drained()
        assert len(set(self.answers)) == 1, self.answers
        applied = {one.version for one in stage.store.history if one.entry.value == b"mine"}
        assert applied == ({self.answers[0][1]} if self.answers[0][0] == "written" else set())

    async def _prepare(self) -> Version:
        if self.dice.random() < 0.3:
            return self.dice.choice((ZERO, PRESENT))
        ttl_s = self.dice.choice((None, None, 1))
        written = await self.nodes[0].put("key", b"first", ack="stored", ttl_s=ttl_s)
        return self.dice.choice((written.version, written.version, PRESENT, ZERO))

    def _break_something(self) -> None:
        backend = self.dice.choice((self.stage.cache, self.stage.queue, self.stage.queue, self.stage.store))
        backend.faults.planned.extend(self.dice.choices((None, *FAULTS), k=self.dice.randrange(3)))

    async def _try(self, expected: Version, *, patient: bool = False) -> None:
        try:
            async with asyncio.timeout(None if patient else self.dice.choice((0.0001, 0.01, 1, 5))):
                self.answers.append(await answer_of(self.dice.choice(self.nodes), expected))
        except (TimeoutError, UnavailableError):
            pass  # the client has no answer, and tries again

    async def _others(self) -> None:
        for _ in range(self.dice.randrange(3)):
            node = self.dice.choice(self.nodes)
            try:
                async with asyncio.timeout(self.dice.choice((0.01, 5))):
                    if self.dice.random() < 0.5:
                        await node.put("key", b"theirs", ack="stored")
                    else:
                        await node.delete("key", ack="stored")
            except (TimeoutError, UnavailableError):
                pass  # of no matter here


PORTION = 1000 if "FAULTS_LONG" in os.environ else 100


@pytest.mark.parametrize("portion", range(10))
async def test_a_client_that_repeats_a_request_gets_its_first_answer(portion: int) -> None:
    """Whatever failed or was too late, on whichever node: one answer, the same each time, and true of what the store has applied."""
    for seed in range(PORTION * portion, PORTION * (portion + 1)):
        try:
            await Case(seed).run()
        except BaseException as error:  # raised again, with the case's number
            error.add_note(f"case {seed}")
            raise
