"""Requests for the console to show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kvcore.client import Client

__all__ = ("load",)


@contextmanager
def load(url: str) -> Iterator[None]:
    """Write and read a key again and again, one request after the other."""
    is_over = threading.Event()

    def ask() -> None:
        with Client(url) as client:
            while not is_over.is_set():
                client.put("load", 1)
                client.get("load")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
