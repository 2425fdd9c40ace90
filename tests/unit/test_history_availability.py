"""How long a service did not serve is computed from the history alone."""

from __future__ import annotations

from tests.faults.availability import Availability, Service, availability
from tests.faults.history import Fate, Found, History, Read, Write


def wrote(ended_s: float, fate: Fate, *, expected: str | None = None) -> Write:
    """Return a write that ended at that time."""
    return Write(client="a", key="k", value=None, began_s=ended_s - 0.1, ended_s=ended_s, fate=fate, expected=expected)


def read(ended_s: float, found: Found | None, *, key: str = "k", in_session: bool = False) -> Read:
    """Return a read that ended at that time."""
    return Read(client="a", key=key, began_s=ended_s - 0.1, ended_s=ended_s, found=found, in_session=in_session)


def figures(history: History, service: Service, *, since_s: float) -> Availability:
    """Return what was found about one service."""
    (found,) = (one for one in availability(history, since_s=since_s) if one.service is service)
    return found


def test_the_longest_time_between_two_served_writes_is_the_gap() -> None:
    """Writes that failed do not end the time without service, and what was before the fault does not count."""
    fates = [
        (1, Fate.ACKNOWLEDGED),
        (11, Fate.ACKNOWLEDGED),
        (12, Fate.REFUSED),
        (13, Fate.UNKNOWN),
        (15, Fate.ACKNOWLEDGED),
    ]
    history = History(writes=[wrote(ended_s, fate) for ended_s, fate in fates])

    assert figures(history, Service.WRITES, since_s=10) == Availability(Service.WRITES, 2, 2, 4.0)


def test_a_service_that_never_comes_back_is_away_until_the_end() -> None:
    """The gap lasts from the fault to the end of the history."""
    history = History(writes=[wrote(1, Fate.ACKNOWLEDGED)], reads=[read(30, Found("x", "1"))])

    assert figures(history, Service.WRITES, since_s=10).gap_s == 20


def test_a_condition_that_does_not_hold_is_served() -> None:
    """412 is an answer; no answer to a conditional write is a failure of that service and of no other."""
    history = History(writes=[wrote(11, Fate.CONFLICT, expected="1"), wrote(12, Fate.UNKNOWN, expected="1")])

    assert figures(history, Service.CONDITIONAL, since_s=10) == Availability(Service.CONDITIONAL, 1, 1, 1.0)
    assert figures(history, Service.WRITES, since_s=10).failed == 0


def test_reads_are_told_apart_by_what_they_ask_for() -> None:
    """Reads of cached keys, in a session, and others are counted by themselves; "not found" is an answer."""
    history = History(
        reads=[read(11, Found()), read(12, None, in_session=True), read(13, Found("x", "1"), key="p/warm/1")]
    )

    assert figures(history, Service.READS, since_s=10).served == 1
    assert figures(history, Service.SESSION, since_s=10).failed == 1
    assert figures(history, Service.CACHED, since_s=10).served == 1
