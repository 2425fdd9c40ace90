"""What each fault test does: let something fail under load, bring it back, and judge the history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec

from kvcore.testing.servers.process import wait_until
from tests.faults.availability import Availability, Service, availability
from tests.faults.history import Violation, check
from tests.faults.load import running_load
from tests.faults.rest import read_back

__all__ = ("Fault", "Verdict", "endure")

_BACK_WITHIN_S = 60.0
_OPERATIONS = 1000
"""At least so many are done before a fault, during it, and after it."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that fails.

    `strike` makes it fail. `is_over` tells, asking the server itself and not kvcore, whether it serves again: after
    `mend`, or before it where the server `fails_over` by itself. `served` is what kvcore must serve before `mend`.
    """

    name: str
    strike: Callable[[], None]
    is_over: Callable[[], bool]
    mend: Callable[[], None]
    fails_over: bool = False
    served: Collection[Service] = tuple(Service)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault came to. `server_s`: how long the server itself was away."""

    fault: str
    seed: int
    server_s: float
    services: list[Availability]
    violations: list[Violation]

    def failed(self, service: Service) -> int:
        """Return how many operations of a service failed."""
        return next(one.failed for one in self.services if one.service is service)


async def endure(urls: Sequence[str], fault: Fault, *, seed: int) -> Verdict:
    """Run a load on nodes through a fault and what mends it, wait until all is at rest, and return what was found.

    Raises:
        AssertionError: a service that had to be there was not, within 40 s.
    """
    async with running_load(urls, prefix=fault.name, seed=seed) as load:
        await load.does(_OPERATIONS)
        await load.serves(Service, since_s=time.monotonic())
        struck_s = time.monotonic()
        await asyncio.to_thread(fault.strike)
        async with asyncio.TaskGroup() as watching:
            over = watching.create_task(_over_s(fault))
            await load.does(_OPERATIONS)
            await load.serves(fault.served, since_s=time.monotonic())
            if fault.fails_over:
                await over
            await asyncio.to_thread(fault.mend)
        server_s = over.result() - struck_s
        await load.serves(Service, since_s=time.monotonic())
        await load.does(_OPERATIONS)
    await read_back(urls, load.history)
    return Verdict(
        fault=fault.name,
        seed=seed,
        server_s=server_s,
        services=availability(load.history, since_s=struck_s),
        violations=check(load.history),
    )


async def _over_s(fault: Fault) -> float:
    what = f"the server is back: {fault.name}"
    await asyncio.to_thread(partial(wait_until, fault.is_over, within_s=_BACK_WITHIN_S, what=what))
    return time.monotonic()
