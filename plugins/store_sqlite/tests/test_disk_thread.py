"""The thread that waits for the disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from kvcore_store_sqlite.disk_thread import DiskThread


@pytest.fixture
def thread() -> Iterator[DiskThread]:
    """Yield one, and end it afterwards."""
    thread = DiskThread()
    yield thread
    thread.shutdown()


async def test_work_runs_on_another_thread(thread: DiskThread) -> None:
    """What waits for the disk does not run on the thread of the event loop."""
    assert await thread.run(threading.get_ident) != threading.get_ident()


async def test_an_error_of_short_and_of_long_work_comes_back(thread: DiskThread) -> None:
    """The caller gets what the work raised, whether it was waited for at once or later."""
    gate = threading.Event()

    def fail_late() -> None:
        gate.wait()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    asyncio.get_running_loop().call_soon(gate.set)
    with pytest.raises(ZeroDivisionError):
        await thread.run(fail_late)


async def test_the_loop_goes_on_while_work_takes_long(thread: DiskThread) -> None:
    """Long work is ended here by the loop itself, which could not if it waited for it."""
    gate = threading.Event()
    asyncio.get_running_loop().call_later(0.02, gate.set)
    assert await thread.run(gate.wait)


async def test_who_is_cancelled_leaves_the_work_to_its_end(thread: DiskThread) -> None:
    """Cancelling the caller does not cancel the work, and the next turn comes after its end."""
    gate = threading.Event()
    ended: list[bool] = []
    caller = asyncio.create_task(thread.run(lambda: ended.append(gate.wait())))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == []
    asyncio.get_running_loop().call_soon(gate.set)
    await thread.turn()
    assert ended == [True]


async def test_turns_come_one_at_a_time(thread: DiskThread) -> None:
    """Of many that wait for a turn each finds that nothing is under way."""
    under_way: list[int] = []
    gate = threading.Event()

    async def worker(number: int) -> None:
        await thread.turn()
        assert under_way == []
        under_way.append(number)
        await thread.run(gate.wait)
        under_way.clear()

    asyncio.get_running_loop().call_later(0.02, gate.set)
    await asyncio.gather(*map(worker, range(5)))
