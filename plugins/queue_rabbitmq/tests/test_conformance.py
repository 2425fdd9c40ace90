"""The queue on RabbitMQ keeps the contract."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from kvcore.backends import Factory, Queue
from kvcore.testing import QueueConformance
from kvcore_queue_rabbitmq import FACTORY
from kvcore_queue_rabbitmq.settings import RabbitSettings


class TestRabbitQueue(QueueConformance):
    """The suite, on three nodes."""

    factory: ClassVar[Factory[Queue]] = FACTORY

    @pytest.fixture
    def settings(self, settings: RabbitSettings) -> msgspec.Struct:
        """Return settings whose queues are empty, and deleted afterwards."""
        return settings
