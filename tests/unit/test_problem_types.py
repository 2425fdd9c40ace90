"""The types of problems: what a node says, its client understands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from kvcore.client._answers import Problem, error_of
from kvcore.errors import (
    AccessError,
    CircuitOpenError,
    ConditionFailedError,
    KvcoreError,
    PluginError,
    SettingsError,
    UnavailableError,
)
from kvcore.http.problems import PROBLEMS, problem_of
from kvcore.problem_types import ProblemName

NEVER_ANSWERED = {SettingsError, PluginError, AccessError}
"""Those of a start, and the one that only joins two others."""


def kinds_below(kind: type[KvcoreError]) -> Iterator[type[KvcoreError]]:
    """Give every kind of error below one that a node tells its clients of."""
    for below in kind.__subclasses__():
        if below.__module__ == "kvcore.errors" and below not in NEVER_ANSWERED:
            yield below
        yield from kinds_below(below)


@pytest.mark.parametrize("kind", sorted(set(kinds_below(KvcoreError)), key=str))
def test_a_client_raises_the_error_that_the_node_has_met(kind: type[KvcoreError]) -> None:
    """Through the answer and back it is the same, with its message; but that a client does not tell a circuit breaker apart."""
    answer = problem_of(kind("why"))
    raised = error_of(msgspec.json.decode(answer.body, type=Problem), answer.status)
    assert type(raised) is (UnavailableError if kind is CircuitOpenError else kind)
    assert str(raised) == "why"


def test_an_error_keeps_what_it_carries() -> None:
    """The version that a condition met, and what became of a write."""
    version = "0198f3a7c2d10000a1b2c3d4"
    for error in (ConditionFailedError("why", version=version), UnavailableError("why", outcome="not-applied")):
        answer = problem_of(error)
        raised = error_of(msgspec.json.decode(answer.body, type=Problem), answer.status)
        assert vars(raised) == vars(error)


def test_every_name_is_that_of_a_problem() -> None:
    """What is typed as a name has a status, a title and a meaning, and nothing else has."""
    assert set(get_args(ProblemName)) == set(PROBLEMS)
