"""The write queue of kvcore on RabbitMQ quorum queues."""

from __future__ import annotations

from collections.abc import Iterable

from kvcore.backends import Factory, Queue
from kvcore.hookspecs import hookimpl
from kvcore_queue_rabbitmq.diagnosis import diagnose
from kvcore_queue_rabbitmq.queue import RabbitQueue, open_rabbitmq
from kvcore_queue_rabbitmq.settings import RabbitSettings

__all__ = ("FACTORY", "RabbitQueue", "RabbitSettings", "kvcore_queues")

FACTORY: Factory[Queue] = Factory(
    name="rabbitmq", backend=RabbitQueue, settings=RabbitSettings, open=open_rabbitmq, diagnose=diagnose
)


@hookimpl
def kvcore_queues() -> Iterable[Factory[Queue]]:
    """Give the queue "rabbitmq"."""
    return [FACTORY]
