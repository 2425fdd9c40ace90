"""How long a transfer waits for a node, and how somebody who has no time ends that."""

from __future__ import annotations

import threading
from typing import Final

from kvcore.client import Retries
from kvcore.errors import UnavailableError

__all__ = ("PATIENT", "Patience")

PATIENT: Final = Retries(tries=10_000, deadline_s=120.0)
"""Whoever writes for an hour waits for a node that starts again, and is never told "too many" for good."""


class Patience:
    """Sleeps between attempts, until it is stopped: then who sleeps wakes up, and gives up."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            UnavailableError: it is stopped.
        """
        if self._stopped.wait(seconds):
            raise UnavailableError("stopped while waiting for the node")

    def stop(self) -> None:
        """Let nobody sleep any more."""
        self._stopped.set()
