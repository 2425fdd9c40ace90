"""The checker of the fault tests: it accepts what was promised, and finds each way to break it."""

from __future__ import annotations

import itertools

import pytest

from kvcore.model import ZERO
from tests.faults.history import Fate, Found, History, Read, Rule, Write, check

ACKNOWLEDGED, CONFLICT, REFUSED, UNKNOWN = Fate.ACKNOWLEDGED, Fate.CONFLICT, Fate.REFUSED, Fate.UNKNOWN


class Told:
    """A history of one key, told in short: operations follow each other, each takes a second, a version is one letter."""

    def __init__(self) -> None:
        self.history = History()
        self._seconds = itertools.count()

    def put(
        self,
        value: str | None,
        fate: Fate,
        version: str = ZERO,
        *,
        on: str | None = None,
        client: str = "a",
        at_s: float | None = None,
    ) -> Told:
        """Tell a write; `on` is its condition. At the same time as others if `at_s` says so."""
        began_s = next(self._seconds) if at_s is None else at_s
        write = Write(
            client=client,
            key="k",
            value=value,
            began_s=began_s,
            ended_s=began_s + 0.5,
            fate=fate,
            version=version,
            expected=on,
        )
        self.history.writes.append(write)
        return self

    def get(self, value: str | None, version: str = ZERO, *, client: str = "r", in_session: bool = False) -> Told:
        """Tell a read that found a value, or nothing (None)."""
        began_s = next(self._seconds)
        read = Read(
            client=client,
            key="k",
            began_s=began_s,
            ended_s=began_s + 0.5,
            found=Found(value, version),
            in_session=in_session,
        )
        self.history.reads.append(read)
        return self

    def stored(self, value: str | None, version: str = ZERO) -> Told:
        """Tell what the store has at the end."""
        self.history.stored["k"] = Found(value, version)
        return self

    def cached(self, value: str | None, version: str = ZERO) -> Told:
        """Tell what the cache has at the end."""
        self.history.cached["k"] = Found(value, version)
        return self


def told() -> Told:
    """Begin to tell a history."""
    return Told()


GOOD = {
    "the newest acknowledged write is there": told()
    .put("x", ACKNOWLEDGED, "1")
    .put("y", ACKNOWLEDGED, "2")
    .stored("y", "2"),
    "the higher version of two at once stays": told()
    .put("x", ACKNOWLEDGED, "2", at_s=0)
    .put("y", ACKNOWLEDGED, "1", at_s=0)
    .stored("x", "2"),
    "an unknown write has happened": told()
    .put("x", ACKNOWLEDGED, "1")
    .put("y", UNKNOWN)
    .get("y", "2")
    .stored("y", "2"),
    "an unknown write has not happened": told().put("x", ACKNOWLEDGED, "1").put("y", UNKNOWN).stored("x", "1"),
    "an unknown delete has happened": told().put("x", ACKNOWLEDGED, "1").put(None, UNKNOWN).stored(None),
    "an acknowledged delete stays": told()
    .put("x", ACKNOWLEDGED, "1")
    .put(None, ACKNOWLEDGED, "2")
    .stored(None)
    .cached(None),
    "a refused write is nowhere": told().put("x", ACKNOWLEDGED, "1").put("y", REFUSED).get("x", "1").stored("x", "1"),
    "the cache has what the store has": told().put("x", ACKNOWLEDGED, "1").stored("x", "1").cached("x", "1"),
    "a read without a session is late": told()
    .put("x", ACKNOWLEDGED, "1")
    .put("y", ACKNOWLEDGED, "2")
    .get("y", "2")
    .get("x", "1")
    .stored("y", "2"),
    "a session goes on from its own write": told()
    .put("x", ACKNOWLEDGED, "1", client="s")
    .get("x", "1", client="s", in_session=True)
    .put(None, ACKNOWLEDGED, "2")
    .get(None, client="s", in_session=True)
    .stored(None),
    "one of three wins a race": told()
    .put("x", ACKNOWLEDGED, "1", on=ZERO)
    .put("y", CONFLICT, on="1")
    .put("z", ACKNOWLEDGED, "2", on="1")
    .put("w", CONFLICT, on="1")
    .stored("z", "2"),
    "an unknown write wins a race": told()
    .put("x", ACKNOWLEDGED, "1", on=ZERO)
    .put("y", UNKNOWN, on="1")
    .put("z", CONFLICT, on="1")
    .get("y", "2")
    .stored("y", "2"),
    "everybody else replaced it": told()
    .put("x", ACKNOWLEDGED, "1")
    .put("y", ACKNOWLEDGED, "2")
    .put("z", CONFLICT, on="1")
    .stored("y", "2"),
}

BAD = {
    "nothing is stored of what was acknowledged": (Rule.LOST, told().put("x", ACKNOWLEDGED, "1").stored(None)),
    "the store did not reach what was acknowledged": (Rule.LOST, told().put("x", ACKNOWLEDGED, "1")),
    "an older acknowledged write is stored": (
        Rule.LOST,
        told().put("x", ACKNOWLEDGED, "1").put("y", ACKNOWLEDGED, "2").stored("x", "1"),
    ),
    "a deleted key is back": (
        Rule.LOST,
        told().put("x", ACKNOWLEDGED, "1").put(None, ACKNOWLEDGED, "2").stored("x", "1"),
    ),
    "a win was overwritten by one that did not see it": (
        Rule.LOST,
        told()
        .put("x", ACKNOWLEDGED, "1", on=ZERO)
        .put("y", ACKNOWLEDGED, "2", on="1")
        .get("u", "3")
        .put("z", ACKNOWLEDGED, "4", on="3")
        .put("u", UNKNOWN, on="1", at_s=0)
        .stored("z", "4"),
    ),
    "a value comes from nowhere": (Rule.INVENTED, told().put("x", UNKNOWN).get("y", "1").stored("x", "1")),
    "the store has a value from nowhere": (Rule.INVENTED, told().put("x", UNKNOWN).stored("y", "1")),
    "a value is read before it is written": (
        Rule.INVENTED,
        told().get("x", "1").put("x", ACKNOWLEDGED, "1").stored("x", "1"),
    ),
    "a write that was not applied is read": (
        Rule.REFUSED,
        told().put("x", ACKNOWLEDGED, "1").put("y", REFUSED).get("y", "2").stored("x", "1"),
    ),
    "a condition failed and the write is stored": (
        Rule.REFUSED,
        told().put("x", ACKNOWLEDGED, "1").put("y", CONFLICT, on="1").stored("y", "2"),
    ),
    "a value has another version than the acknowledged one": (
        Rule.MISMATCH,
        told().put("x", ACKNOWLEDGED, "1").stored("x", "2"),
    ),
    "a version has the value of another write": (
        Rule.MISMATCH,
        told().put("x", ACKNOWLEDGED, "1").put("y", UNKNOWN).get("y", "1").stored("x", "1"),
    ),
    "a version is given twice": (
        Rule.MISMATCH,
        told().put("x", ACKNOWLEDGED, "1", at_s=0).put("y", ACKNOWLEDGED, "1", at_s=0).stored("x", "1"),
    ),
    "an unknown value changes its version": (Rule.MISMATCH, told().put("x", UNKNOWN).get("x", "1").stored("x", "2")),
    "the cache is older than the store": (
        Rule.STALE_CACHE,
        told().put("x", ACKNOWLEDGED, "1").put("y", ACKNOWLEDGED, "2").stored("y", "2").cached("x", "1"),
    ),
    "the cache still has what was deleted": (
        Rule.STALE_CACHE,
        told().put("x", ACKNOWLEDGED, "1").put(None, ACKNOWLEDGED, "2").stored(None).cached("x", "1"),
    ),
    "the cache does not know what is stored": (
        Rule.STALE_CACHE,
        told().put("x", ACKNOWLEDGED, "1").stored("x", "1").cached(None),
    ),
    "a session does not see its own write": (
        Rule.WENT_BACK,
        told()
        .put("x", ACKNOWLEDGED, "1", client="s")
        .put("y", ACKNOWLEDGED, "2", client="s")
        .get("x", "1", client="s", in_session=True)
        .stored("y", "2"),
    ),
    "a session sees the old value again": (
        Rule.WENT_BACK,
        told()
        .put("x", ACKNOWLEDGED, "1")
        .put("y", ACKNOWLEDGED, "2")
        .get("y", "2", client="s", in_session=True)
        .get("x", "1", client="s", in_session=True)
        .stored("y", "2"),
    ),
    "a session loses a key that nobody deleted": (
        Rule.WENT_BACK,
        told()
        .put("x", ACKNOWLEDGED, "1")
        .get("x", "1", client="s", in_session=True)
        .get(None, client="s", in_session=True)
        .put(None, ACKNOWLEDGED, "2")
        .stored(None),
    ),
    "two are told that they won": (
        Rule.TWO_WINNERS,
        told()
        .put("x", ACKNOWLEDGED, "1", on=ZERO)
        .put("y", ACKNOWLEDGED, "2", on="1")
        .put("z", ACKNOWLEDGED, "3", on="1")
        .stored("z", "3"),
    ),
    "one is told that it won, and an unknown one did too": (
        Rule.TWO_WINNERS,
        told()
        .put("x", ACKNOWLEDGED, "1", on=ZERO)
        .put("y", UNKNOWN, on="1")
        .put("z", ACKNOWLEDGED, "3", on="1")
        .get("y", "2")
        .stored("z", "3"),
    ),
    "all lose and the version is still there": (
        Rule.NO_WINNER,
        told().put("x", ACKNOWLEDGED, "1").put("y", CONFLICT, on="1").put("z", CONFLICT, on="1").stored("x", "1"),
    ),
    "a later write has a lower version": (
        Rule.OUT_OF_ORDER,
        told().put("x", ACKNOWLEDGED, "2").put("y", ACKNOWLEDGED, "1").stored("x", "2"),
    ),
}


@pytest.mark.parametrize("story", GOOD.values(), ids=GOOD.keys())
def test_what_was_promised_is_accepted(story: Told) -> None:
    """A history that keeps every promise breaks no rule, whatever became of its unknown writes."""
    assert check(story.history) == []


@pytest.mark.parametrize(("rule", "story"), BAD.values(), ids=BAD.keys())
def test_a_broken_promise_is_found_and_named(rule: Rule, story: Told) -> None:
    """A history that breaks a promise breaks the rule of that name."""
    assert rule in {violation.rule for violation in check(story.history)}


def test_every_rule_is_broken_by_some_history() -> None:
    """No rule is without a history above that breaks it."""
    assert {rule for rule, _ in BAD.values()} == set(Rule)


def test_keys_are_judged_apart() -> None:
    """A violation names its key, and what happened to one key is no explanation for another."""
    story = told().put("x", ACKNOWLEDGED, "1").stored("x", "1")
    story.history.reads.append(Read(client="r", key="other", began_s=5, ended_s=6, found=Found("x", "1")))

    (violation,) = check(story.history)

    assert (violation.rule, violation.key) == (Rule.INVENTED, "other")
