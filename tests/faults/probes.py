"""Asking the servers themselves, past kvcore, whether they serve: what its own times without service are compared with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import count
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError
from pamqp.common import FieldValue

from kvcore.testing.servers import Database, RabbitCluster, RedisServers, ServerError, ServerProcess
from kvcore.testing.servers.resp import ask

__all__ = ("database_answers", "leader_is_elected", "listens", "redis_master_answers", "take_over")

_ANSWERS_WITHIN_S: Final = 2.0
_numbers = count(1)


def redis_master_answers(redis: RedisServers) -> Callable[[], bool]:
    """Return what tells whether the server that the sentinels call the master is one."""

    def answers() -> bool:
        role = ask(redis.current_master().port, "ROLE", password=redis.password)
        return isinstance(role, list) and role[0] == "master"

    return answers


def take_over(redis: RedisServers, master: ServerProcess) -> Callable[[], bool]:
    """Return what tells whether another server has become the master."""
    answers = redis_master_answers(redis)
    return lambda: redis.current_master() is not master and answers()


def database_answers(database: Database) -> Callable[[], bool]:
    """Return what tells whether the database runs a statement."""
    return lambda: database.execute("SELECT 1") == "1"


def listens(server: ServerProcess) -> bool:
    """Tell whether a server can be connected to."""
    try:
        socket.create_connection((server.host, server.port), timeout=_ANSWERS_WITHIN_S).close()
    except OSError:
        return False
    return True


def leader_is_elected(rabbit: RabbitCluster, node: ServerProcess) -> Callable[[], bool]:
    """Return what tells whether a quorum queue, whose leader is on that node now, takes messages."""
    queue = f"probe-{next(_numbers)}"
    asyncio.run(_declare(rabbit, node, queue))
    return lambda: asyncio.run(_publishes(rabbit, queue))


async def _declare(rabbit: RabbitCluster, node: ServerProcess, queue: str) -> None:
    arguments: dict[str, FieldValue] = {"x-queue-type": "quorum", "x-queue-leader-locator": "client-local"}
    async with await _connect(rabbit, node) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments=arguments)


async def _publishes(rabbit: RabbitCluster, queue: str) -> bool:
    living = [node for node in rabbit.nodes if node.is_running and not node.is_paused]
    if not living:
        return False
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_S), await _connect(rabbit, living[0]) as connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(aio_pika.Message(b"probe"), queue)
    except (AMQPError, OSError, TimeoutError) as error:
        raise ServerError(f"RabbitMQ does not take a message: {error}") from error
    return True


async def _connect(rabbit: RabbitCluster, node: ServerProcess) -> AbstractConnection:
    return await aio_pika.connect(
        host=node.host, port=node.port, login=rabbit.username, password=rabbit.password, timeout=_ANSWERS_WITHIN_S
    )
