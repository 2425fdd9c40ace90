"""The Batcher: who asks gets the answer to what they asked, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvcore.batching import Batcher
from kvcore.errors import OverloadedError, UnavailableError
from tests.unit.core.virtual_time import VirtualTimeLoop

IN_FLIGHT, BATCH, BATCH_BYTES, WAITING = 2, 3, 10, 8

Item = tuple[int, int]
"""A name and a weight."""
Answer = tuple[Item, int]
"""The item, and the number of the call that answered it."""


class BatcherMachine(RuleBasedStateMachine):
    """Items of their own weight are asked for, given up and answered in any order."""

    @initialize(joined=st.booleans())
    def start(self, joined: bool) -> None:
        """Start with nothing asked."""
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.joined = joined
        self.calls: list[tuple[list[Item], asyncio.Future[None]]] = []
        self.open: list[int] = []
        self.asked: list[tuple[Item, int, asyncio.Future[Answer]]] = []
        self.sizes: list[int] = []
        self.batcher = Batcher[Item, Answer](
            self._call,
            name="the test",
            in_flight=IN_FLIGHT,
            batch=BATCH,
            waiting=WAITING,
            batch_bytes=BATCH_BYTES,
            weigh=lambda item: item[1],
            joined=joined,
            observe=self.sizes.append,
        )

    async def _call(self, items: Sequence[Item]) -> Sequence[Answer]:
        number = len(self.calls)
        ends: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append((list(items), ends))
        self.open.append(number)
        try:
            await ends
        finally:
            self.open.remove(number)
        return [(item, number) for item in items]

    def _in_loop(self, do: Callable[[], object]) -> None:
        async def turn() -> None:
            do()
            for _ in range(6):
                await asyncio.sleep(0)

        self.runner.run(turn())

    @rule(weights=st.lists(st.integers(1, 12), min_size=1, max_size=5))
    def ask(self, weights: list[int]) -> None:
        """Ask for some items in one turn; past the bound the batcher refuses at once."""
        self._in_loop(lambda: self._ask_all(weights))

    def _ask_all(self, weights: list[int]) -> None:
        for weight in weights:
            self._ask(weight)

    def _ask(self, weight: int) -> None:
        item = (0 if self.joined else len(self.asked), weight)
        unsent = [future for _, future in self._unsent()]
        try:
            future = self.batcher(item)
        except OverloadedError:
            assert len(unsent) >= WAITING
        else:
            # Those who gave up may count until their turn would have come.
            assert sum(not future.cancelled() for future in unsent) < WAITING
            self.asked.append((item, len(self.calls), future))

    def _unsent(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """Return what no call has taken up yet."""
        return [
            (item, future)
            for item, asked, future in self.asked
            if not any(item in items for items, _ in self.calls[asked:])
        ]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), failing=st.booleans())
    def answer(self, data: st.DataObject, failing: bool) -> None:
        """End a call, well or with an error."""
        _, ends = self.calls[data.draw(st.sampled_from(self.open))]
        if failing:
            self._in_loop(lambda: ends.set_exception(UnavailableError("down", outcome="not-applied")))
        else:
            self._in_loop(lambda: ends.set_result(None))

    @precondition(lambda self: any(not future.done() for _, _, future in self.asked))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Somebody stops waiting."""
        unanswered = [future for _, _, future in self.asked if not future.done()]
        self._in_loop(data.draw(st.sampled_from(unanswered)).cancel)

    @invariant()
    def answers_are_the_askers_own(self) -> None:
        """Whoever is answered gets the item they asked for, from a call that began after they asked."""
        seen: set[int] = set()
        for item, asked, future in self.asked:
            if not future.done() or future.cancelled():
                continue
            error = future.exception()
            if error is None:
                assert future.result()[0] == item
                assert future.result()[1] >= asked, "joined to a call that was under way already"
            else:
                assert isinstance(error, UnavailableError)
                assert error.outcome == "not-applied"
                assert id(error) not in seen, "everybody gets an error of their own"
                seen.add(id(error))

    @invariant()
    def bounds_hold(self) -> None:
        """No more calls, items or bytes at once than allowed; equal items are asked once where they are joined."""
        assert len(self.open) <= IN_FLIGHT
        assert self.sizes == [len(items) for items, _ in self.calls]
        for items, _ in self.calls:
            assert 1 <= len(items) <= BATCH
            assert sum(weight for _, weight in items) <= BATCH_BYTES or len(items) == 1
            assert not self.joined or len(set(items)) == len(items)

    @invariant()
    def nobody_waits_while_a_call_could_begin(self) -> None:
        """Items wait only while as many calls as allowed are under way."""
        if len(self.open) < IN_FLIGHT:
            assert all(future.cancelled() for _, future in self._unsent())

    @invariant()
    def nobody_is_overtaken(self) -> None:
        """Calls take items in the order in which they were first asked for."""
        if not self.joined:
            taken = [item for items, _ in self.calls for item in items]
            assert taken == sorted(taken)

    def teardown(self) -> None:
        """At the end everybody has been answered."""

        async def finish() -> None:
            closing = asyncio.ensure_future(self.batcher.aclose())
            while not closing.done():
                for _, ends in self.calls:
                    if not ends.done():
                        ends.set_result(None)
                await asyncio.sleep(0)

        self.runner.run(finish())
        assert all(future.done() for _, _, future in self.asked)
        self.answers_are_the_askers_own()
        self.runner.close()


BatcherMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_everybody_gets_their_own_answer = BatcherMachine.TestCase


class Echo:
    """A bulk call that notes what it was asked, and waits until it may answer."""

    def __init__(self, *, closed: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        if not closed:
            self.gate.set()

    async def __call__(self, items: Sequence[str]) -> Sequence[str]:
        self.calls.append(list(items))
        await self.gate.wait()
        return [item.upper() for item in items]

    def batcher(
        self, *, in_flight: int = 1, batch: int = 100, waiting: int = 100, joined: bool = False
    ) -> Batcher[str, str]:
        """Return a batcher over this call."""
        return Batcher(self, name="the echo", in_flight=in_flight, batch=batch, waiting=waiting, joined=joined)


async def test_what_is_asked_in_one_turn_goes_along() -> None:
    """An idle batcher waits for the end of the turn, and not for any time."""
    echo = Echo()
    ask = echo.batcher()
    assert await asyncio.gather(*map(ask, "abc")) == ["A", "B", "C"]
    assert echo.calls == [["a", "b", "c"]]


async def test_items_are_taken_in_the_order_in_which_they_came() -> None:
    """Nobody is overtaken."""
    echo = Echo(closed=True)
    ask = echo.batcher(batch=2)
    futures = [ask(item) for item in "abcde"]
    echo.gate.set()
    await asyncio.gather(*futures)
    assert echo.calls == [["a", "b"], ["c", "d"], ["e"]]


async def test_equal_items_that_wait_together_are_asked_once() -> None:
    """Joined items cost one question, and everybody gets the answer."""
    echo = Echo()
    ask = echo.batcher(joined=True)
    assert await asyncio.gather(*(ask("a") for _ in range(50))) == ["A"] * 50
    assert echo.calls == [["a"]]


async def test_nobody_is_joined_to_a_call_under_way() -> None:
    """What a call under way answers may have been read before the item was asked for."""
    echo = Echo(closed=True)
    ask = echo.batcher(joined=True, in_flight=2)
    first = ask("a")
    while not echo.calls:
        await asyncio.sleep(0)
    second = ask("a")
    echo.gate.set()
    await asyncio.gather(first, second)
    assert echo.calls == [["a"], ["a"]]


async def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    """A cancelled waiter costs no work, and neither cancels nor delays the others' call."""
    echo = Echo(closed=True)
    ask = echo.batcher()
    under_way = ask("a")
    while not echo.calls:
        await asyncio.sleep(0)
    given_up, kept = ask("b"), ask("c")
    given_up.cancel()
    under_way.cancel()
    echo.gate.set()
    assert await kept == "C"
    assert echo.calls == [["a"], ["c"]]


async def test_a_joined_item_is_asked_as_long_as_anybody_waits_for_it() -> None:
    """One of two waiters gives up; the other is answered."""
    echo = Echo()
    ask = echo.batcher(joined=True)
    given_up, kept = ask("a"), ask("a")
    given_up.cancel()
    assert await kept == "A"


async def test_too_many_waiting_are_refused_at_once() -> None:
    """Past the bound a request costs nothing: it was not asked, and says so."""
    echo = Echo(closed=True)
    ask = echo.batcher(waiting=2)
    waiting = [ask("a"), ask("b")]
    with pytest.raises(OverloadedError) as refused:
        ask("c")
    assert refused.value.outcome == "not-applied"
    echo.gate.set()
    await asyncio.gather(*waiting)
    assert await ask("d") == "D"
    assert echo.calls == [["a", "b"], ["d"]]


async def test_a_call_that_answers_too_few_results_fails_for_all() -> None:
    """Results correspond to items by position, so a wrong number of them is worth nothing."""

    async def forgetful(items: Sequence[str]) -> Sequence[str]:
        return items[1:]

    ask = Batcher(forgetful, name="the test", in_flight=1, batch=10, waiting=10)
    answers = await asyncio.gather(ask("a"), ask("b"), return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) for answer in answers)


async def test_an_error_that_cannot_be_copied_still_reaches_everybody() -> None:
    """An exception with a constructor of its own is no reason to leave anybody waiting."""

    class OddError(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(first + second)

    async def failing(items: Sequence[str]) -> Sequence[str]:
        raise OddError("a", "b")

    ask = Batcher(failing, name="the test", in_flight=1, batch=10, waiting=10)
    async with asyncio.timeout(1):
        answers = await asyncio.gather(ask("a"), ask("b"), return_exceptions=True)
    assert all(isinstance(answer, OddError) for answer in answers)


async def test_what_waits_is_bounded_in_bytes() -> None:
    """When as many bytes wait as may, an item more is refused; when they have gone, others are taken."""

    async def call(items: Sequence[int]) -> Sequence[int]:
        return items

    batcher = Batcher(
        call, name="x", in_flight=1, batch=10, waiting=10, batch_bytes=5, waiting_bytes=8, weigh=lambda item: item
    )
    first, second = batcher(4), batcher(4)
    with pytest.raises(OverloadedError):
        batcher(1)
    assert await first + await second == 8
    assert await batcher(1) == 1
