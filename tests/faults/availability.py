"""How long a service did not serve: from a history, for each kind of operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import pairwise

import msgspec

from tests.faults.history import Fate, History, Read, Write

__all__ = ("Availability", "Service", "availability", "is_served", "service_of")

WARM = "/warm/"
"""Part of the names of keys that were read into the cache before anything failed."""


class Service(StrEnum):
    """What clients ask for."""

    WRITES = "writes"
    CONDITIONAL = "conditional"
    """Writes that have a condition."""
    READS = "reads"
    SESSION = "in sessions"
    """Reads that must not go back."""
    CACHED = "cached reads"
    """Reads of what was read before the fault, and is not written."""


class Availability(msgspec.Struct, frozen=True):
    """One service from the moment of a fault on: operations that were served, that failed, and the longest time without one served."""

    service: Service
    served: int
    failed: int
    gap_s: float


def service_of(operation: Write | Read) -> Service:
    """Return which service an operation belongs to."""
    if isinstance(operation, Write):
        return Service.WRITES if operation.expected is None else Service.CONDITIONAL
    if WARM in operation.key:
        return Service.CACHED
    return Service.SESSION if operation.in_session else Service.READS


def is_served(operation: Write | Read) -> bool:
    """Tell whether an operation was answered in its own terms: a condition that does not hold is an answer."""
    if isinstance(operation, Write):
        return operation.fate in (Fate.ACKNOWLEDGED, Fate.CONFLICT)
    return operation.found is not None


def availability(history: History, *, since_s: float) -> list[Availability]:
    """Return what was served of what began or ended at `since_s` or later, a time of the history's clock."""
    return list(_availability(history.operations, since_s))


def _availability(operations: list[Write | Read], since_s: float) -> Iterator[Availability]:
    ends_s = max((operation.ended_s for operation in operations), default=since_s)
    for service in Service:
        asked = [one for one in operations if service_of(one) is service and one.ended_s >= since_s]
        served = [one.ended_s for one in asked if is_served(one)]
        yield Availability(service, len(served), len(asked) - len(served), _longest_gap(served, since_s, ends_s))


def _longest_gap(moments: Iterable[float], since_s: float, until_s: float) -> float:
    return max(later - earlier for earlier, later in pairwise(sorted([since_s, *moments, max(since_s, until_s)])))
