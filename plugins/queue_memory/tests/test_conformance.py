"""The queue in memory keeps the contract."""

from __future__ import annotations

from typing import ClassVar

from kvcore.backends import Factory, Queue
from kvcore.testing import QueueConformance
from kvcore_queue_memory import FACTORY


class TestMemoryQueue(QueueConformance):
    """The suite, on the queue in memory."""

    factory: ClassVar[Factory[Queue]] = FACTORY
