"""The fault tests' own clients and checks on the profiles that need no server: with no fault at all, and with a kill -9."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcore.testing.servers import Service, ServiceProcess
from tests.faults.availability import Service as Kind
from tests.faults.endurance import Fault, Verdict, endure


@pytest.fixture
def memory() -> Iterator[ServiceProcess]:
    """Give a node on the memory profile: every write goes through a queue and a worker."""
    with Service({"profile": "memory"}) as service:
        yield service.nodes[0]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[ServiceProcess]:
    """Give a node on the embedded profile."""
    with Service({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as service:
        yield service.nodes[0]


async def test_nothing_fails_while_nothing_happens(memory: ServiceProcess, seed: int) -> None:
    """Clients of a healthy node are all served, and what they have seen breaks no rule."""
    nothing = Fault(name="nothing", strike=lambda: None, is_over=memory.is_ready, mend=lambda: None)

    verdict = await endure([memory.url], nothing, seed=seed)

    assert verdict.violations == []
    assert all(service.served and not service.failed for service in verdict.services)


async def test_no_promise_is_broken_by_a_kill_of_an_embedded_node(
    embedded: ServiceProcess, seed: int, verdicts: list[Verdict]
) -> None:
    """What was acknowledged before the kill is there after the restart, and what was seen does not go away."""
    kill = Fault(
        name="kill of an embedded node",
        strike=embedded.kill,
        is_over=embedded.is_ready,
        mend=embedded.start,
        served=(),
    )

    verdict = await endure([embedded.url], kill, seed=seed)

    verdicts.append(verdict)
    assert verdict.violations == []
    assert any(service.failed for service in verdict.services if service.service is Kind.WRITES)
