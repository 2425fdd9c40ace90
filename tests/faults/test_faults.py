"""Every server, node and worker dies or stands still once, under load, and no promise is broken.

After each fault, when all is at rest, the history of every client is checked; see `history.Rule`. How long what was
away is printed at the end of the session and not asserted: what is asserted is that each service is there again, within
40 s, and that what can be served without the dead part goes on while it is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from kvcore.testing.servers import ServerError, ServerProcess
from kvcore.testing.servers.process import wait_until
from tests.faults.availability import Service
from tests.faults.endurance import Fault, Verdict, endure
from tests.faults.probes import database_answers, leader_is_elected, listens, redis_master_answers, take_over
from tests.faults.stage import LONG, QUEUE_PREFIX, Stage

pytestmark = pytest.mark.timeout(180)

_LEAVES_WITHIN_S = 20.0

WITHOUT_STORE = (Service.WRITES, Service.CACHED)
"""What is served while the store is away: writes that are accepted, and what the cache has."""


def kill_of_the_redis_master(stage: Stage) -> Fault:
    """A replica becomes the master. It counts as another cache, an empty one."""
    master = stage.redis.current_master()
    return Fault(
        name="kill of the Redis master",
        strike=master.kill,
        is_over=take_over(stage.redis, master),
        fails_over=True,
        mend=stage.redis.restore,
    )


def kill_of_a_sentinel(stage: Stage) -> Fault:
    """Nobody should notice."""
    return Fault(
        name="kill of a sentinel",
        strike=stage.redis.sentinels[0].kill,
        is_over=redis_master_answers(stage.redis),
        mend=stage.redis.restore,
    )


def kill_of_all_redis(stage: Stage) -> Fault:
    """All is served without a cache, from the store."""
    return Fault(
        name="kill of all Redis",
        strike=lambda: _kill(*stage.redis.processes),
        is_over=redis_master_answers(stage.redis),
        mend=stage.redis.restore,
    )


def pause_of_the_redis_master(stage: Stage) -> Fault:
    """A master that stands still is replaced, and finds when it goes on that it is none any more."""
    master = stage.redis.current_master()
    return Fault(
        name="pause of the Redis master",
        strike=master.pause,
        is_over=take_over(stage.redis, master),
        fails_over=True,
        mend=stage.redis.restore,
    )


def kill_of_a_rabbitmq_node(stage: Stage) -> Fault:
    """A node that has no leader of the queue of writes."""
    leader = stage.rabbit.queue_leader(f"{QUEUE_PREFIX}.writes")
    node = next(node for node in stage.rabbit.nodes if node is not leader)
    return _kill_of_rabbitmq("kill of a RabbitMQ follower", stage, node)


def kill_of_the_leaders_node(stage: Stage) -> Fault:
    """The node that takes the writes."""
    leader = stage.rabbit.queue_leader(f"{QUEUE_PREFIX}.writes")
    return _kill_of_rabbitmq("kill of the RabbitMQ leader", stage, leader)


def pause_of_the_leaders_node(stage: Stage) -> Fault:
    """The node that takes the writes stands still, with its connections open, and goes on before the others leave it."""
    leader = stage.rabbit.queue_leader(f"{QUEUE_PREFIX}.writes")
    return Fault(
        name="pause of the RabbitMQ leader",
        strike=leader.pause,
        is_over=leader_is_elected(stage.rabbit, leader),
        mend=leader.resume,
    )


def long_pause_of_the_leaders_node(stage: Stage) -> Fault:
    """The others elect another leader, after ten seconds. The node finds itself alone, and stops serving until it is started again."""
    leader = stage.rabbit.queue_leader(f"{QUEUE_PREFIX}.writes")

    def mend() -> None:
        leader.resume()
        with suppress(ServerError):  # one that was not left goes on
            wait_until(lambda: not listens(leader), within_s=_LEAVES_WITHIN_S, what=f"{leader.name} stops serving")
            leader.kill()
        stage.rabbit.restore()

    return Fault(
        name="long pause of the RabbitMQ leader",
        strike=leader.pause,
        is_over=leader_is_elected(stage.rabbit, leader),
        mend=mend,
        fails_over=True,
    )


def kill_of_all_rabbitmq(stage: Stage) -> Fault:
    """Writes go straight to the store. What was in the queues is there when they are back."""
    return Fault(
        name="kill of all RabbitMQ",
        strike=lambda: _kill(*stage.rabbit.nodes),
        is_over=leader_is_elected(stage.rabbit, stage.rabbit.nodes[0]),
        mend=stage.rabbit.restore,
    )


def kill_of_the_database(stage: Stage) -> Fault:
    """Writes are accepted, and what is cached is read."""
    return Fault(
        name="kill of the database",
        strike=lambda: _kill(*stage.database.nodes),
        is_over=database_answers(stage.database),
        mend=stage.database.restore,
        served=WITHOUT_STORE,
    )


def pause_of_the_database(stage: Stage) -> Fault:
    """As for a kill, but connections stay open, and what had been sent is done when it goes on."""
    return Fault(
        name="pause of the database",
        strike=lambda: _pause(*stage.database.nodes),
        is_over=database_answers(stage.database),
        mend=stage.database.restore,
        served=WITHOUT_STORE,
    )


def kill_of_a_worker(stage: Stage) -> Fault:
    """One of two, while both hold a batch that the database, which stands still, does not take."""
    worker = stage.workers[0]

    def mend() -> None:
        worker.kill()
        stage.restore()

    return Fault(
        name="kill of a worker with a batch",
        strike=lambda: _pause(*stage.database.nodes),
        is_over=database_answers(stage.database),
        mend=mend,
        served=WITHOUT_STORE,
    )


def kill_of_a_node(stage: Stage) -> Fault:
    """One of two; its clients go to the other one."""
    node = stage.nodes[0]
    return Fault(name="kill of an API node", strike=node.kill, is_over=node.is_ready, mend=node.start)


FAULTS = (
    kill_of_the_redis_master,
    kill_of_a_sentinel,
    kill_of_all_redis,
    pause_of_the_redis_master,
    kill_of_a_rabbitmq_node,
    kill_of_the_leaders_node,
    pause_of_the_leaders_node,
    kill_of_all_rabbitmq,
    kill_of_the_database,
    pause_of_the_database,
    kill_of_a_worker,
    kill_of_a_node,
    *((long_pause_of_the_leaders_node,) if LONG else ()),
)


@pytest.mark.parametrize("make", FAULTS, ids=[make.__name__ for make in FAULTS])
async def test_no_promise_is_broken_by_a(
    make: Callable[[Stage], Fault], stage: Stage, seed: int, verdicts: list[Verdict]
) -> None:
    """What can be served is served during the fault, all is served after it, and the history breaks no rule."""
    fault = await asyncio.to_thread(make, stage)  # asks servers

    verdict = await endure(stage.urls, fault, seed=seed)

    verdicts.append(verdict)
    assert verdict.violations == []
    assert verdict.failed(Service.CACHED) == 0 or make is kill_of_a_node  # its clients lose a connection each


def _kill_of_rabbitmq(name: str, stage: Stage, node: ServerProcess) -> Fault:
    return Fault(
        name=name,
        strike=node.kill,
        is_over=leader_is_elected(stage.rabbit, node),
        mend=stage.rabbit.restore,
        fails_over=True,
    )


def _kill(*processes: ServerProcess) -> None:
    for process in processes:
        process.kill()


def _pause(*processes: ServerProcess) -> None:
    for process in processes:
        process.pause()
