"""What the tests of kvctl share."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from tests.unit.answering import FakeNode


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """Give a server that kvctl takes for its node."""
    monkeypatch.delenv("KVCORE_TOKEN", raising=False)
    with FakeNode() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("KVCORE_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()
