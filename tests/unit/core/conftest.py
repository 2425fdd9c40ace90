"""Unit tests run in virtual time: a wait of any length is over as soon as nothing else is left to do."""

from __future__ import annotations

import pytest

from tests.unit.core.virtual_time import VirtualTimeLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run asynchronous tests on a loop without a real clock."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}
