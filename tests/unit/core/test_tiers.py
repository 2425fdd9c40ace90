"""A tier in service: what a circuit breaker and a deadline make of failing calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from kvcore.errors import CircuitOpenError, OverloadedError, UnavailableError
from kvcore.settings import TierSettings
from kvcore.tiers import Breaker, BreakerState, Tier
from tests.unit.core.fakes import FakeStore

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


TRANSITIONS = {
    "too few failures": ("admit failed admit failed", CLOSED),
    "failures in a row": ("admit failed admit failed admit failed", OPEN),
    "a success in between": ("admit failed admit failed admit succeeded admit failed admit failed", CLOSED),
    "refused while open": ("failed failed failed refused", OPEN),
    "a trial after the recovery": ("failed failed failed wait admit", HALF_OPEN),
    "one trial at a time": ("failed failed failed wait admit refused", HALF_OPEN),
    "the trial succeeds": ("failed failed failed wait admit succeeded admit", CLOSED),
    "the trial fails": ("failed failed failed wait admit failed refused", OPEN),
    "the next trial": ("failed failed failed wait admit failed wait admit succeeded", CLOSED),
    "a cancelled trial lets another come at once": ("failed failed failed wait admit abandoned admit", HALF_OPEN),
    "a cancelled call tells nothing": ("admit abandoned admit failed admit failed", CLOSED),
    "one success forgives all": ("failed failed failed wait admit succeeded admit failed admit failed", CLOSED),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_breaker_moves_as_the_table_says(name: str) -> None:
    """Three failures in a row open it, time allows a trial, and the trial decides."""
    steps, expected = TRANSITIONS[name]
    clock = Hands()
    breaker = Breaker("the test", failures=3, recovery_s=5.0, clock=clock)
    for step in steps.split():
        if step == "wait":
            clock.now += 5.0
        elif step == "refused":
            with pytest.raises(CircuitOpenError) as refused:
                breaker.admit()
            assert refused.value.outcome == "not-applied"
            assert refused.value.retry_after_s > 0
        else:
            getattr(breaker, step)()
    assert breaker.state is expected


def test_an_open_breaker_waits_for_the_whole_recovery() -> None:
    """No trial comes early, and whoever is refused learns how long it takes."""
    clock = Hands()
    breaker = Breaker("the test", failures=1, recovery_s=5.0, clock=clock)
    breaker.failed()
    clock.now = 3.0
    with pytest.raises(CircuitOpenError) as refused:
        breaker.admit()
    assert refused.value.retry_after_s == pytest.approx(2.0)


def tier(store: FakeStore, **changes: float) -> Tier[FakeStore]:
    """Return a tier that opens at once."""
    settings = TierSettings(backend="fake", deadline_s=0.5, failures=1, **changes)  # type: ignore[arg-type]  # numbers of settings
    return Tier("store", store, settings, clock=asyncio.get_running_loop().time)


async def test_a_call_that_takes_too_long_fails_at_the_deadline() -> None:
    """Whoever waits for a hanging tier waits no longer than the deadline."""
    store = FakeStore()
    one = tier(store)
    store.faults.always = "hang"
    with pytest.raises(UnavailableError) as raised:
        await one.guarded("get", store.get)(["key"])
    assert raised.value.outcome == "unknown"
    assert one.breaker.state is OPEN


async def test_slowness_that_is_somebody_elses_does_not_open_the_breaker() -> None:
    """A worker that does not answer says nothing about the queue."""
    store = FakeStore()
    one = tier(store)
    store.faults.always = "hang"
    with pytest.raises(UnavailableError):
        await one.guarded("get", store.get, slow_is_failure=False)(["key"])
    assert one.breaker.state is CLOSED


async def test_a_full_tier_is_not_a_failing_one() -> None:
    """A tier that says that it is full has answered."""
    store = FakeStore()
    one = tier(store)
    store.faults.always = "full"
    with pytest.raises(OverloadedError):
        await one.guarded("get", store.get)(["key"])
    assert one.breaker.state is CLOSED


async def test_what_the_contract_does_not_allow_costs_its_caller_only(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a backend is logged with its traceback; those whose calls do not run into it are not refused."""
    store = FakeStore()
    one = tier(store)
    store.faults.always = "bug"
    with caplog.at_level(logging.ERROR), pytest.raises(UnavailableError) as raised:
        await one.guarded("get", store.get)(["key"])
    assert raised.value.outcome == "unknown"
    assert one.breaker.state is CLOSED
    assert any(record.exc_info for record in caplog.records)


async def test_an_open_tier_is_not_asked() -> None:
    """While the breaker is open the backend is left in peace; one trial asks it again, and its success closes the breaker."""
    store = FakeStore()
    one = tier(store, recovery_s=2.0)
    get = one.guarded("get", store.get)
    store.faults.planned.append("before")
    with pytest.raises(UnavailableError):
        await get(["key"])
    with pytest.raises(CircuitOpenError):
        await get(["key"])
    assert store.faults.calls["get"] == 1
    await asyncio.sleep(2.0)
    assert await get(["key"]) == [None]
    assert one.breaker.state is CLOSED


def test_a_ping_is_a_trial_where_no_call_comes_along() -> None:
    """A tier that is asked nothing is well again when it answers a ping, and not before its pause is over."""
    hands = Hands()
    breaker = Breaker("the tier", failures=1, recovery_s=2.0, clock=hands)
    breaker.failed()
    breaker.pinged()
    assert breaker.state is OPEN
    hands.now = 2.0
    breaker.pinged()
    assert breaker.state is CLOSED


def test_a_breaker_says_once_what_is_wrong_and_once_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """However many trials fail in between, the log has two lines."""
    caplog.set_level(logging.INFO)
    hands = Hands()
    breaker = Breaker("the tier", failures=1, recovery_s=2.0, clock=hands)
    breaker.failed()
    for _ in range(5):
        hands.now += 2.0
        breaker.admit()
        breaker.failed()
    hands.now += 2.0
    breaker.admit()
    breaker.succeeded()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_cancelled_trial_does_not_keep_the_breaker_half_open() -> None:
    """A trial whose caller went away leaves room for the next one."""
    store = FakeStore()
    one = tier(store, recovery_s=2.0)
    get = one.guarded("get", store.get)
    store.faults.planned.extend(["before", "hang"])
    with pytest.raises(UnavailableError):
        await get(["key"])
    await asyncio.sleep(2.0)
    trial = asyncio.ensure_future(get(["key"]))
    await asyncio.sleep(0.1)
    assert one.breaker.state is HALF_OPEN
    trial.cancel()
    await asyncio.wait([trial])
    assert await get(["key"]) == [None]
    assert one.breaker.state is CLOSED


async def test_a_call_can_have_a_deadline_of_its_own() -> None:
    """A worker waits longer than a request does."""
    store = FakeStore()
    began = asyncio.get_running_loop().time()
    store.faults.always = "hang"
    with pytest.raises(UnavailableError):
        await tier(store).guarded("get", store.get, deadline_s=30.0)(["key"])
    assert asyncio.get_running_loop().time() - began == pytest.approx(30.0, abs=0.01)


async def test_a_cancellation_that_a_backend_lets_out_does_not_end_its_caller() -> None:
    """Nobody has cancelled the call: it has failed, and whoever made it goes on."""

    async def cancelled_inside(keys: Sequence[str]) -> Sequence[str]:
        raise asyncio.CancelledError

    one = tier(FakeStore())
    with pytest.raises(UnavailableError):
        await one.guarded("get", cancelled_inside)(["key"])
    assert one.breaker.state is CLOSED
