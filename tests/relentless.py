"""Clients that send one write after the other, to the very end of a node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Final

__all__ = ("Writers", "relentless_writers")

_FRESH: Final = 24
_KEEPING: Final = 8
_SILENCE_S: Final = 30.0


class Writers:
    """Threads that write as fast as they get answers, until no connection can be made any more.

    Most make a connection for each request; some keep theirs for as long as the node does not say `Connection: close`.
    `lost` has what became of requests that were sent on an established connection and got no answer.
    """

    def __init__(self, port: int) -> None:
        self.lost: list[str] = []
        self._port = port
        self._answered = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._write, args=(keeps,)) for keeps in [False] * _FRESH + [True] * _KEEPING
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, answers: int) -> None:
        """Return when so many requests have been answered."""
        for _ in range(answers):
            assert self._answered.acquire(timeout=_SILENCE_S), "no request is answered any more"

    def wait(self) -> None:
        """Return when none can reach the node any more."""
        for thread in self._threads:
            thread.join()

    def _write(self, keeps: bool) -> None:
        while True:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=_SILENCE_S)
            try:
                connection.connect()
            except OSError:
                return  # nothing was sent
            try:
                while self._is_answered_and_stays(connection) and keeps:
                    pass
            except (OSError, HTTPException) as error:
                self.lost.append(repr(error))
            finally:
                connection.close()

    def _is_answered_and_stays(self, connection: HTTPConnection) -> bool:
        connection.request("PUT", "/kv/relentless", b"1")
        answer = connection.getresponse()
        answer.read()
        self._answered.release()
        return not answer.will_close


@contextmanager
def relentless_writers(port: int) -> Iterator[Writers]:
    """Write to a node until it is gone, which it has to be at the end."""
    writers = Writers(port)
    try:
        yield writers
    finally:
        writers.wait()
