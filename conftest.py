"""What all tests share: the event loop that the product runs on, and real servers."""

from __future__ import annotations

import pytest

pytest_plugins = ["kvcore.testing.fixtures"]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run asynchronous tests on asyncio with uvloop, as the node does."""
    return "asyncio", {"use_uvloop": True}
