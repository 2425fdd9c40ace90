"""The connections of a server: how many there may be, what they hold, and for how long clients may keep them waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from uvicorn.server import ServerState

from kvcore.http.limiting import Buffers
from kvcore.metrics import Metrics
from kvcore.settings import Settings

if TYPE_CHECKING:
    from kvcore.http.protocol import StrictHttpProtocol

__all__ = ("LINGER_S", "Connections")

LINGER_S: Final = 1.0
"""At the end: for a first request on a new connection, and for a client to close after its last answer."""

_TICKS: Final = 10


class Connections(ServerState):
    """What uvicorn keeps of a server and gives to every connection, and the limits that these keep to.

    There is one timer for all connections, and not one or more for each request: arming one costs more than most of what
    is done for a request. So every limit of time is kept to within about two seconds.
    """

    def __init__(self, settings: Settings, metrics: Metrics, buffers: Buffers) -> None:
        super().__init__()
        self.limit = settings.limits.connections
        self.times = settings.http
        self.metrics = metrics
        self.buffers = buffers
        self.is_draining = False
        self.linger_s = 0.0
        self._round: list[object] = []
        metrics.http.connections.set_function(lambda: len(self.connections))
        metrics.http.buffered.set_function(lambda: self.buffers.held)

    def make_room(self) -> bool:
        """Cut off those who have left the most of their answers untaken, until all hold little enough; tell whether they do.

        To refuse whoever comes next would let a few clients that do not read keep everybody else out.
        """
        connections = cast("set[StrictHttpProtocol]", self.connections)
        while self.buffers.held > self.buffers.limit:
            largest = max(connections, key=lambda one: one.untaken_answer, default=None)
            if largest is None or not largest.untaken_answer:
                return False
            self.metrics.http.limited("buffered-bytes")
            largest.cut_off()
        return True

    def drain(self, linger_s: float) -> None:
        """From now on let each connection end with its next answer; see `StrictHttpProtocol.drain` and `shutdown`.

        `linger_s`: for how long a client is waited for that is about to send its first request, or to close.
        """
        self.is_draining, self.linger_s = True, linger_s
        for connection in self.connections:
            cast("StrictHttpProtocol", connection).drain()

    def sweep(self, tick: int) -> None:
        """Close what clients have kept waiting for too long: a tenth of the connections at each of ten ticks a second."""
        if tick % _TICKS == 0:
            self._round = list(self.connections)
        now = time.monotonic()
        for connection in self._round[tick % _TICKS :: _TICKS]:
            if connection in self.connections:
                cast("StrictHttpProtocol", connection).look_after(now)
