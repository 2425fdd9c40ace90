"""When a request is sent again, when it is not, and what its error says in the end: a test for each rule, for both clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kvcore.client import Delete, Get, Put, Retries
from kvcore.errors import (
    ClockSkewError,
    ConditionFailedError,
    ForbiddenError,
    InvalidKeyError,
    KeyTooLongError,
    OverloadedError,
    RateLimitedError,
    RejectedError,
    RequestError,
    SettingsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    ValueTooLargeError,
    VersionNotReachedError,
)
from tests.unit.client.fakes import VERSION, FakeClock, FakeNode, each, problem, value, written

Connect = Callable[..., Any]

NOT_APPLIED = problem(503, "overloaded", outcome="not-applied")
UNKNOWN = problem(503, "unavailable", outcome="unknown")
REFUSED = httpx.ConnectError("refused")
LOST = httpx.ReadError("connection reset")
LATE = httpx.ReadTimeout("")
# A proxy in front of the nodes has had no answer of one, and says no more than that.
BAD_GATEWAY = httpx.Response(502, text="<html>bad gateway", headers={"content-type": "text/html"})
GATEWAY_TIMEOUT = httpx.Response(504, text="<html>timeout", headers={"content-type": "text/html"})
PROXY_S_PROBLEM = problem(504, "of-a-proxy")
PROXY_S = [BAD_GATEWAY, GATEWAY_TIMEOUT, PROXY_S_PROBLEM]
NOT_SENT = problem(502, "of-a-proxy", outcome="not-applied")


@pytest.mark.parametrize(
    "failure", [NOT_APPLIED, UNKNOWN, REFUSED, LOST, LATE, problem(429, "rate-limited"), NOT_SENT, *PROXY_S], ids=repr
)
def test_a_read_is_always_sent_again(node: FakeNode, client: Any, failure: Any) -> None:
    """A read changes nothing, so it is repeated whatever became of it."""
    node.says(failure, value())
    assert client.get("k").json() == "v"
    assert len(node.requests) == 2


@pytest.mark.parametrize("failure", [NOT_APPLIED, UNKNOWN, REFUSED, LOST, LATE], ids=repr)
def test_a_plain_write_is_sent_again(node: FakeNode, client: Any, failure: Any) -> None:
    """A write or delete without a condition has the same effect when it is applied twice."""
    for write in each(lambda: client.put("k", 1), lambda: client.delete("k"), lambda: client.delete_prefix("k")):
        node.says(
            failure,
            httpx.Response(
                200, json={"data": {"key": "k", "version": VERSION, "deleted": 1}, "detail": "stored", "cursor": None}
            ),
        )
        write()
    assert len(node.requests) == 6


def test_a_conditional_write_is_sent_again_under_one_idempotency_key(node: FakeNode, client: Any) -> None:
    """Each conditional call has a key of its own, which its repetitions keep."""
    for write in each(lambda: client.put("k", 1, if_match=VERSION), lambda: client.delete("k", if_match="*")):
        node.says(UNKNOWN, LOST, written())
        write()
    keys = [request.headers["idempotency-key"] for request in node.requests]
    assert len(keys) == 6
    assert [len(set(keys[:3])), len(set(keys[3:])), len(set(keys))] == [1, 1, 2]


@pytest.mark.parametrize("failure", [UNKNOWN, LOST, LATE, *PROXY_S], ids=repr)
def test_without_an_idempotency_key_an_unknown_conditional_write_is_not_repeated(
    node: FakeNode, client: Any, failure: Any
) -> None:
    """Its own first attempt could make the second one fail, so the caller is told that the outcome is unknown."""
    node.says(failure, written())
    with pytest.raises(UnavailableError) as raised:
        client.put("k", 1, if_absent=True, idempotency_key=False)
    assert (raised.value.outcome, len(node.requests)) == ("unknown", 1)
    assert "idempotency-key" not in node.last.headers


@pytest.mark.parametrize(
    "failure", [NOT_APPLIED, NOT_SENT, REFUSED, httpx.ConnectTimeout(""), httpx.PoolTimeout("")], ids=repr
)
def test_what_was_certainly_not_applied_is_sent_again_whatever_it_is(node: FakeNode, client: Any, failure: Any) -> None:
    """Even a condition without an idempotency key is repeated when nothing has happened."""
    node.says(failure, written())
    assert client.put("k", 1, if_match=VERSION, idempotency_key=False).version == VERSION


def test_a_batch_with_a_condition_is_repeated_only_if_it_was_not_applied(node: FakeNode, client: Any) -> None:
    """A batch makes no idempotency keys; one without conditions, or with a key for each, is as harmless as plain writes."""
    answer = httpx.Response(200, json={"data": [{"status": 200, "key": "k", "version": VERSION, "detail": "stored"}]})
    for operation in (Put("k", 1, if_absent=True), Delete("k", if_match="*")):
        node.says(LOST, answer)
        with pytest.raises(UnavailableError):
            client.batch([operation])
        node.says(REFUSED, answer)
        assert client.batch([operation])[0].version == VERSION
    for operation in (Put("k", 1), Put("k", 1, if_absent=True, idempotency_key="n"), Delete("k", "*", "n")):
        node.says(LOST, answer)
        assert client.batch([operation])[0].version == VERSION


def test_times_may_be_whole_numbers(node: FakeNode, connect: Callable[..., Any], clock: FakeClock) -> None:
    """A pause is a pause, whatever kind of number it is."""
    client = connect(retries=Retries(longest_pause_s=1))
    limited = problem(429, "rate-limited", {"retry-after": "9"})
    node.says(batch_answer(batch_line("k", "not-applied")), limited, batch_answer(batch_line("k")))
    assert client.batch([Put("k", 1)])[0].version == VERSION
    assert clock.slept_s[1:] == [1]


def batch_line(key: str, outcome: str | None = None) -> dict[str, Any]:
    """Return the result of one operation: it was done, or failed with an outcome."""
    if outcome is None:
        return {"status": 200, "key": key, "version": VERSION, "detail": "stored"}
    down = {"type": "/problems/unavailable", "title": "", "status": 503, "outcome": outcome}
    return {"status": 503, "key": key, "problem": down}


def batch_answer(*lines: dict[str, Any]) -> httpx.Response:
    """Return the answer to a batch."""
    return httpx.Response(200, json={"data": lines})


def test_operations_that_failed_are_sent_again_as_they_would_be_alone(
    node: FakeNode, client: Any, clock: FakeClock
) -> None:
    """Only those, after a pause; a condition whose outcome is unknown is not among them."""
    node.says(
        batch_answer(
            batch_line("a"), batch_line("b", "unknown"), batch_line("c", "unknown"), batch_line("d", "not-applied")
        ),
        batch_answer(batch_line("b"), batch_line("d")),
    )
    operations = [Put("a", 1), Put("b", 1), Put("c", 1, if_absent=True), Delete("d", if_match="*")]
    done, repeated, unknown, repeated_too = client.batch(operations)
    assert done.version == repeated.version == repeated_too.version == VERSION
    assert isinstance(unknown, UnavailableError)
    assert unknown.outcome == "unknown"
    assert b'"c"' not in node.last.content
    assert (len(node.requests), len(clock.slept_s)) == (2, 1)


def test_operations_are_not_sent_again_for_ever(node: FakeNode, client: Any) -> None:
    """After `tries` attempts the error is the result; what was unknown once stays unknown."""
    node.says(batch_answer(batch_line("a", "unknown")), batch_answer(batch_line("a", "not-applied")))
    [failed] = client.batch([Put("a", 1)])
    assert (failed.outcome, len(node.requests)) == ("unknown", 4)
    node.says(batch_answer(batch_line("a", "not-applied")), problem(403, "forbidden"))
    [failed] = client.batch([Put("a", 1)])
    assert isinstance(failed, UnavailableError)


def test_an_idempotency_key_can_be_given(node: FakeNode, client: Any) -> None:
    """So that another process, or another day, can repeat the same write."""
    node.says(written())
    client.put("k", 1, if_match=VERSION, idempotency_key="order-4711")
    assert node.last.headers["idempotency-key"] == "order-4711"
    client.put("k", 1)
    assert "idempotency-key" not in node.last.headers


def test_a_store_that_knows_no_idempotency_keys_is_not_hidden(node: FakeNode, client: Any) -> None:
    """501 is raised, and the write not sent again without the key that made it safe."""
    node.says(problem(501, "unsupported"), written())
    with pytest.raises(UnsupportedError):
        client.put("k", 1, if_match=VERSION)
    assert len(node.requests) == 1


def test_an_attempt_that_may_have_been_applied_is_not_forgotten(node: FakeNode, client: Any) -> None:
    """After one unknown outcome the whole call's is unknown, though the last attempt was certainly not applied."""
    node.says(UNKNOWN, NOT_APPLIED)
    with pytest.raises(OverloadedError) as raised:
        client.put("k", 1)
    assert raised.value.outcome == "unknown"
    node.says(REFUSED)
    with pytest.raises(UnavailableError) as raised_again:
        client.put("k", 1)
    assert raised_again.value.outcome == "not-applied"


def test_a_failed_read_has_done_nothing(node: FakeNode, client: Any) -> None:
    """The outcome of a read is never unknown, and neither is that of a batch of reads."""
    node.says(LOST)
    for read in each(lambda: client.get("k"), lambda: client.batch([Get("k")]), lambda: next(client.keys())):
        with pytest.raises(UnavailableError) as raised:
            read()
        assert raised.value.outcome == "not-applied"


def test_the_number_of_tries_is_bounded(node: FakeNode, connect: Connect) -> None:
    """After `tries` attempts the last error is raised."""
    node.says(NOT_APPLIED)
    with pytest.raises(OverloadedError):
        connect(retries=Retries(tries=7)).get("k")
    assert len(node.requests) == 7


def test_one_try_is_never_repeated(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """`tries=1` switches repeating off."""
    node.says(NOT_APPLIED)
    with pytest.raises(OverloadedError):
        connect(retries=Retries(tries=1)).get("k")
    assert (len(node.requests), clock.slept_s) == (1, [])


def test_the_deadline_holds_for_all_attempts_together(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """A pause that would end behind the deadline is not begun."""
    node.says(NOT_APPLIED)
    with pytest.raises(OverloadedError):
        connect(retries=Retries(tries=1000, deadline_s=3)).get("k")
    assert 1 < clock.now_s < 3
    assert len(node.requests) > 3


def test_each_attempt_has_at_most_what_is_left_of_the_deadline(
    node: FakeNode, connect: Connect, clock: FakeClock
) -> None:
    """A request times out after `try_timeout_s` and what the node was asked to wait, and never behind the deadline."""
    client = connect(retries=Retries(deadline_s=12, try_timeout_s=5))
    node.says(value())

    def allowed_s() -> float:
        allowed: float = node.last.extensions["timeout"]["read"]
        return allowed

    client.get("k")
    assert allowed_s() == 5
    client.get("k", min_version=VERSION, wait_s=3)
    assert allowed_s() == 8
    client.get("k", min_version=VERSION, wait_s=10)
    assert allowed_s() == 12
    assert node.last.extensions["timeout"]["connect"] == 5


def test_pauses_grow_and_are_jittered(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """Each pause is between half of and all of twice the one before, up to the longest."""
    node.says(REFUSED)
    with pytest.raises(UnavailableError):
        connect(retries=Retries(tries=8, first_pause_s=0.1, longest_pause_s=1.5)).get("k")
    full = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
    assert all(min(most / 2, 1.5) <= slept <= min(most, 1.5) for slept, most in zip(clock.slept_s, full, strict=True))
    assert any(slept not in (*full, 1.5) for slept in clock.slept_s)


def test_tries_may_be_more_than_pauses_can_be_doubled(node: FakeNode, connect: Connect) -> None:
    """Whoever waits for a node as long as it takes asks a thousand times and more."""
    node.says(REFUSED)
    with pytest.raises(UnavailableError):
        connect(retries=Retries(tries=1100, deadline_s=1e6)).get("k")
    assert len(node.requests) == 1100


def test_retry_after_is_waited_for(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """The node is asked again no earlier than it says, and not much later."""
    node.says(
        problem(503, "unavailable", {"retry-after": "3"}), problem(429, "rate-limited", {"retry-after": "2"}), value()
    )
    connect().get("k")
    assert 3 <= clock.slept_s[0] <= 3.1
    assert 2 <= clock.slept_s[1] <= 2.2


def test_head_and_the_get_behind_it_are_tried_as_one(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """No busy node is asked for its reason at once, and both have one count of tries."""
    node.says(problem(503, "overloaded", {"retry-after": "3"}))
    with pytest.raises(OverloadedError):
        connect().head("k")
    assert [request.method for request in node.requests] == ["HEAD", "GET", "GET", "GET"]
    assert 3 <= clock.slept_s[0] <= 3.1
    node.requests.clear()
    with pytest.raises(UnavailableError, match="503"):
        connect(retries=Retries(tries=1)).head("k")
    assert [request.method for request in node.requests] == ["HEAD"]


def test_retry_after_is_capped(node: FakeNode, connect: Connect, clock: FakeClock) -> None:
    """Nobody's header makes a caller wait for longer than `longest_pause_s`."""
    node.says(problem(429, "rate-limited", {"retry-after": "86400"}), value())
    connect(retries=Retries(longest_pause_s=4)).get("k")
    assert clock.slept_s == [4]


def test_a_version_that_was_not_reached_is_not_asked_for_again(node: FakeNode, client: Any) -> None:
    """The node has waited for it as long as the caller wanted."""
    node.says(problem(503, "version-not-reached", {"retry-after": "1"}, outcome="not-applied"))
    with pytest.raises(VersionNotReachedError):
        client.get("k", min_version=VERSION, wait_s=2)
    assert len(node.requests) == 1
    assert dict(node.last.url.params) == {"min_version": VERSION, "wait": "2000"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(400, "invalid-request"), RequestError),
        (problem(400, "invalid-key"), InvalidKeyError),
        (problem(400, "rejected-by-store"), RejectedError),
        (problem(401, "unauthenticated"), UnauthenticatedError),
        (problem(403, "forbidden"), ForbiddenError),
        (problem(404, "no-such-resource"), RequestError),
        (problem(412, "condition-failed"), ConditionFailedError),
        (problem(413, "value-too-large"), ValueTooLargeError),
        (problem(413, "body-too-large"), ValueTooLargeError),
        (problem(414, "key-too-long"), KeyTooLongError),
        (problem(418, "new-to-this-client"), RequestError),
        (problem(501, "unsupported"), UnsupportedError),
        (httpx.Response(200, text="<html>"), RequestError),
        (httpx.Response(301, headers={"location": "http://elsewhere/"}), RequestError),
        (httpx.Response(404, text="not here"), RequestError),
        (httpx.LocalProtocolError("illegal"), RequestError),
    ],
    ids=str,
)
def test_what_can_never_succeed_is_raised_at_once(
    node: FakeNode, client: Any, answer: Any, error: type[Exception]
) -> None:
    """An answer that sending again does not change is the error of kvcore that tells what to do, and nothing else is sent."""
    for ask in each(
        lambda: client.get("k"),
        lambda: client.put("k", 1),
        lambda: client.delete("k"),
        lambda: client.cache_stats(),
    ):
        before = len(node.requests)
        node.says(answer)
        with pytest.raises(error) as raised:
            ask()
        assert type(raised.value) is error
        assert len(node.requests) == before + 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(429, "rate-limited"), RateLimitedError),
        (problem(500, "internal"), UnavailableError),
        (problem(503, "clock-skew"), ClockSkewError),
        (problem(503, "draining"), UnavailableError),
        (httpx.Response(502, text="<html>bad gateway"), UnavailableError),
        (httpx.Response(503, text="", headers={"retry-after": "1"}), UnavailableError),
    ],
    ids=str,
)
def test_what_may_succeed_later_is_raised_in_the_end(
    node: FakeNode, client: Any, answer: Any, error: type[Exception]
) -> None:
    """Refusals for now are repeated, those of a proxy in front of the node too."""
    node.says(answer)
    with pytest.raises(error) as raised:
        client.get("k")
    assert type(raised.value) is error
    assert len(node.requests) == 4


def test_an_error_carries_what_the_answer_tells(node: FakeNode, client: Any) -> None:
    """The version that stood in the way, the limit that was passed, and the detail."""
    node.says(problem(412, "condition-failed", {"etag": f'"{VERSION}"'}))
    with pytest.raises(ConditionFailedError, match="condition-failed!") as failed:
        client.put("k", 1, if_absent=True)
    assert failed.value.version == VERSION
    node.says(problem(413, "value-too-large", limit_bytes=77))
    with pytest.raises(ValueTooLargeError) as large:
        client.put("k", 1)
    assert large.value.limit_bytes == 77


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"deadline_s": 0}, {"try_timeout_s": -1.0}, {"first_pause_s": 0}])
def test_retries_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    """No number of tries and no time below the least."""
    with pytest.raises(SettingsError):
        Retries(**wrong)
