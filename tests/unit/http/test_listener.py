"""A listening socket that lets nobody in any more, before it is closed."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from kvcore.http.listener import drop_handshakes, has_backlog

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel cannot be told to let nobody in")


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Give a listening socket of either family."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        yield listener


def test_who_is_let_in_already_is_served_and_nobody_else(listener: socket.socket) -> None:
    """Connections in the queue stay there with what was sent on them; a new client gets no answer, until the port is closed."""
    address = listener.getsockname()[:2]
    with socket.create_connection(address) as early:
        early.sendall(b"request")
        assert drop_handshakes(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.1)
        assert has_backlog(listener)
        accepted, _ = listener.accept()
        with accepted:
            assert not has_backlog(listener)
            listener.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            assert accepted.recv(100) == b"request"
            accepted.sendall(b"answer")
            assert early.recv(100) == b"answer"


def test_a_socket_that_cannot_do_it_says_so(listener: socket.socket) -> None:
    """Then there is nothing to wait for."""
    listener.close()
    assert not drop_handshakes(listener)
