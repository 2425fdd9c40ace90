"""A queue of kvcore in the memory of one process, for tests."""

from __future__ import annotations

from kvcore.backends import Factory, Queue
from kvcore.hookspecs import hookimpl
from kvcore_queue_memory.queue import MemoryQueue, MemoryQueueSettings, open_queue

__all__ = ("FACTORY", "MemoryQueue", "MemoryQueueSettings")

FACTORY: Factory[Queue] = Factory(name="memory", backend=MemoryQueue, settings=MemoryQueueSettings, open=open_queue)


@hookimpl
def kvcore_queues() -> list[Factory[Queue]]:
    """Give the queue "memory"."""
    return [FACTORY]
