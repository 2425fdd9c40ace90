"""A process and all that it has started, as Linux tells it in /proc.

A server is often more than the process that was started: PostgreSQL has one process for each connection, in sessions of
their own, and Erlang has some for name lookups. What happens to one must happen to all, else a "paused" database goes on
answering.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ("Member", "freeze", "is_alive", "kill_frozen", "members", "thaw")

_STOPS_WITHIN_S = 2.0


class Member(NamedTuple):
    """A process; the moment of its start tells it from a later one with the same id."""

    pid: int
    started: str


class _Stat(NamedTuple):
    member: Member
    parent: int
    state: str


def members(pid: int) -> list[Member]:
    """List the process and all below it, parents first; nothing if there is no such process."""
    top = _stat(pid)
    if top is None:
        return []
    below: dict[int, list[Member]] = defaultdict(list)
    for stat in _all_stats():
        below[stat.parent].append(stat.member)
    found = [top.member]
    for member in found:  # grows while it is walked
        found += below[member.pid]
    return found


def is_alive(member: Member) -> bool:
    """Whether it still runs; one that has ended and waits for its parent to notice does not."""
    stat = _stat(member.pid)
    return stat is not None and stat.member == member and stat.state not in "ZX"


def freeze(pid: int) -> list[Member]:
    """Stop the process and all below it where they are, and list them, parents first.

    A parent stands still before its children are looked for. So none can start another unseen, and none can take note of
    the end of a child, whose id thereby stays its own.
    """
    frozen = members(pid)[:1]
    for member in frozen:  # grows while it is walked
        _signal(member, signal.SIGSTOP)
        _await_standstill(member)
        frozen += [stat.member for stat in _all_stats() if stat.parent == member.pid]
    return frozen


def thaw(frozen: Iterable[Member]) -> None:
    """Let go on what `freeze` has stopped."""
    for member in frozen:
        _signal(member, signal.SIGCONT)


def kill_frozen(frozen: Iterable[Member]) -> None:
    """End what `freeze` has stopped, children first: as long as the parent stands still, their ids are theirs."""
    for member in reversed(list(frozen)):
        _signal(member, signal.SIGKILL)


def _signal(member: Member, number: signal.Signals) -> None:
    if is_alive(member):
        os.kill(member.pid, number)


def _await_standstill(member: Member) -> None:
    ends_s = time.monotonic() + _STOPS_WITHIN_S
    while time.monotonic() < ends_s:
        stat = _stat(member.pid)
        if stat is None or stat.state in "TtZX":
            return
        time.sleep(0.001)  # between two looks: a signal tells nobody when it has come


def _all_stats() -> Iterator[_Stat]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))) is not None:
            yield stat


def _stat(pid: int) -> _Stat | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name comes second, in parentheses, and may itself have spaces and parentheses.
    fields = line.rpartition(")")[2].split()
    return _Stat(member=Member(pid, started=fields[19]), parent=int(fields[1]), state=fields[0])
