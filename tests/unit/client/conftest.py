"""Both clients, each in turn, of a node that answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from kvcore.client import AsyncClient, Client
from tests.unit.client.fakes import Blocking, FakeClock, FakeNode


@pytest.fixture
def node() -> FakeNode:
    """Give a node."""
    return FakeNode()


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock."""
    return FakeClock()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, node: FakeNode, clock: FakeClock) -> Iterator[Callable[..., Any]]:
    """Give what makes a client of the node: each kind in turn."""
    transport = httpx.MockTransport(node)
    if request.param == "sync":
        with httpx.Client(transport=transport) as http:
            yield lambda **options: Client("http://node", http=http, sleep=clock.sleep, clock=clock, **options)
        return
    with asyncio.Runner() as runner:
        async_http = httpx.AsyncClient(transport=transport)
        yield lambda **options: Blocking(
            AsyncClient("http://node", http=async_http, sleep=clock.async_sleep, clock=clock, **options), runner
        )
        runner.run(async_http.aclose())


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    """Give a client of the node: each kind in turn."""
    return connect()
