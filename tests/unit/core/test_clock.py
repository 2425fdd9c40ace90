"""The hybrid logical clock: versions that never repeat and never fall behind, whatever the wall clock does."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvcore.clock import HybridClock, is_version, version_at, version_ms
from kvcore.errors import ClockSkewError
from kvcore.model import ZERO, Version

BOUND_MS = 10_000
NOON_MS = 1_700_000_000_000


class ClockMachine(RuleBasedStateMachine):
    """One node, restarted now and then, whose wall clock is set to and fro."""

    @initialize()
    def start(self) -> None:
        """Begin at noon."""
        self.wall_ms = NOON_MS
        self.given: set[Version] = set()
        self.starts = 0
        self.restart()

    @rule()
    def restart(self) -> None:
        """Start anew: nothing is remembered but the time, and the tag is another."""
        self.starts += 1
        self.highest = ZERO
        self.clock = HybridClock(max_ahead_ms=BOUND_MS, now_ms=lambda: self.wall_ms, tag=f"{self.starts:08x}")

    @rule(by_ms=st.integers(-3 * BOUND_MS, 3 * BOUND_MS))
    def set_wall_clock(self, by_ms: int) -> None:
        """Let the wall clock jump."""
        self.wall_ms += by_ms

    @rule(times=st.integers(1, 5))
    def stamp(self, times: int) -> None:
        """What is stamped is above everything stamped or seen, new, and within the bound; else the clock refuses."""
        for _ in range(times):
            try:
                version = self.clock.stamp()
            except ClockSkewError:
                assert version_ms(self.highest) >= self.wall_ms + BOUND_MS
                continue
            assert is_version(version)
            assert version > self.highest
            assert version not in self.given
            assert version_ms(version) <= self.wall_ms + BOUND_MS
            assert version_ms(version) >= self.wall_ms
            assert self.clock.stamped(version)
            self.given.add(version)
            self.highest = version

    @rule(ahead_ms=st.integers(-2 * BOUND_MS, 2 * BOUND_MS), counter=st.sampled_from([0, 1, 0xFFFE, 0xFFFF]))
    def absorb(self, ahead_ms: int, counter: int) -> None:
        """A version seen is stamped above, unless no right clock can have given it."""
        seen = Version(f"{self.wall_ms + ahead_ms:012x}{counter:04x}ffffffff")
        if ahead_ms > BOUND_MS and seen > self.highest:
            with pytest.raises(ClockSkewError):
                self.clock.absorb(seen)
            assert self.clock.is_ahead(seen)
        else:
            self.clock.absorb(seen)
            self.highest = max(self.highest, seen)

    @invariant()
    def tag_is_its_own(self) -> None:
        """A clock does not take a foreign version for its own."""
        assert not self.clock.stamped(Version("0" * 16 + "ffffffff"))


ClockMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_versions_rise_whatever_the_wall_clock_does = ClockMachine.TestCase


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0" * 24, True), ("0123456789abcdef01234567", True), ("0" * 23, False), ("0" * 25, False), ("", False),
     ("0" * 23 + "A", False), ("0" * 23 + "g", False), ("0" * 23 + " ", False), ("\u0660" * 24, False)],
)  # fmt: skip
def test_a_version_is_24_lowercase_hex_digits(text: str, expected: bool) -> None:
    """Nothing else is taken for a version: not capitals, not other digits, not another length."""
    assert is_version(text) is expected


def test_a_full_counter_carries_over_into_the_next_millisecond() -> None:
    """More than 65,536 versions in one millisecond still rise."""
    clock = HybridClock(max_ahead_ms=1000, now_ms=lambda: NOON_MS, tag="00000000")
    clock.absorb(Version(f"{NOON_MS:012x}ffff00000000"))
    assert clock.stamp() == f"{NOON_MS + 1:012x}000000000000"


def test_a_time_is_below_everything_stamped_from_then_on() -> None:
    """`version_at` parts what was stamped before a moment from what comes later."""
    clock = HybridClock(max_ahead_ms=1000, now_ms=lambda: NOON_MS)
    assert version_at(NOON_MS) < clock.stamp() < version_at(NOON_MS + 1)
    assert version_at(-5) == ZERO


def test_clocks_draw_different_tags() -> None:
    """Two nodes that start at the same time do not give the same versions."""
    assert len({HybridClock(max_ahead_ms=1).tag for _ in range(50)}) == 50
