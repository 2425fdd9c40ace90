"""The queues, and the arguments that they are declared with.

All are quorum queues, and all arguments are understood by RabbitMQ 3.10 to 4.x (www.rabbitmq.com/docs/quorum-queues).

Delivery limits. Since 4.0 a quorum queue has one of 20 unless it is told otherwise, and what exceeds it is dead-lettered.
Every return counts: a worker that crashes returns all that it had been sent, and one that holds its messages while the
store is down has its channel closed by the server after 30 minutes. So 20 would bury acknowledged writes in a crash loop, or
in a night without a store. No limit would let one message that crashes every worker stop all others for ever. A
thousand lets workers crash for a quarter of an hour at one crash a second, or the store be away for twenty days; what
is over it goes to the dead letters, from where it can be replayed.

The dead letters themselves have a limit that is never reached: to list them means to take and return them. So have the
refreshes: there is no other place for them, and none can fail for good.

Dead-lettering is "at least once", which the server grants only together with "reject-publish": without it a dead letter
is lost where its queue cannot be reached at that moment.
"""

from __future__ import annotations

from typing import Final, get_args

from aiormq.channel import Channel as AmqpChannel

from kvcore.backends import Channel
from kvcore_queue_rabbitmq.settings import RabbitSettings

__all__ = ("CHANNELS", "Arguments", "Topology")

Arguments = dict[str, str | int]

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
_DELIVERY_LIMIT: Final = 1000
_NEVER: Final = 1_000_000_000


class Topology:
    """The names and arguments of the queues of one prefix."""

    def __init__(self, settings: RabbitSettings) -> None:
        self._prefix = settings.prefix
        self.dead = f"{settings.prefix}.dead"
        every: Arguments = {
            "x-queue-type": "quorum",
            "x-quorum-initial-group-size": settings.replicas,
            "x-queue-leader-locator": "balanced",
        }
        log: Arguments = every | {"x-max-length": settings.max_length, "x-overflow": "reject-publish"}
        buried: Arguments = {
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
        }
        self.queues: dict[str, Arguments] = {
            self.dead: every | {"x-delivery-limit": _NEVER},
            self.name("writes"): log | buried,
            self.name("refreshes"): log | {"x-delivery-limit": _NEVER},
        }

    def name(self, channel: Channel) -> str:
        """Return the name of a channel's queue."""
        return f"{self._prefix}.{channel}"

    async def declare(self, channel: AmqpChannel) -> None:
        """Declare every queue: make what is missing; the server refuses where one has other arguments."""
        for name, arguments in self.queues.items():
            await channel.queue_declare(name, durable=True, arguments=dict(arguments))
