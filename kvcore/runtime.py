"""From settings to a running node: opens the tiers in order, and closes them in reverse."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Literal

import msgspec

from kvcore import __version__
from kvcore.access import Authenticator
from kvcore.administration import Administration
from kvcore.authentication import open_authenticator, refuse_exposure
from kvcore.backends import Cache, Kind, Limits, Queue, Store
from kvcore.batching import Batcher
from kvcore.clock import HybridClock
from kvcore.config import Resolved
from kvcore.errors import SettingsError, UnavailableError
from kvcore.metrics import Metrics
from kvcore.model import Mutation
from kvcore.plugins import Plugins
from kvcore.service import KeyValueService
from kvcore.settings import NO_QUEUE, TierSettings
from kvcore.tiers import BreakerState, Tier
from kvcore.tracing import Tracer
from kvcore.worker import Worker

__all__ = ("ComponentHealth", "Health", "Instance", "Node", "Phase", "WorkerInstance", "open_node", "open_worker")

logger = logging.getLogger(__name__)

Phase = Literal["starting", "ready", "draining"]


class ComponentHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tier: `status` is the answer to a ping just now, `server` what has answered, `detail` why none has."""

    status: Literal["up", "down"]
    backend: str
    server: str = ""
    breaker: BreakerState
    ping_ms: float
    detail: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process of kvcore and its tiers.

    "degraded": some tier is down, or was a moment ago (its circuit breaker is not closed), and the others go on.
    "unhealthy": a node can serve nothing but what is cached; a worker has nothing to take from, or nowhere to put it.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    components: dict[Kind, ComponentHealth]
    version: str
    node: str
    profile: str
    limits: Limits | None = None


class Instance:
    """A running process of kvcore: its tiers, its health and its metrics.

    `authenticator` knows the tokens; None: nobody is asked for one. `tracer` makes spans; None: none are made.
    """

    def __init__(
        self,
        resolved: Resolved,
        *,
        tag: str,
        tiers: dict[Kind, Tier[Any]],
        metrics: Metrics,
        authenticator: Authenticator | None = None,
        tracer: Tracer | None = None,
        version: str = __version__,
    ) -> None:
        self.resolved = resolved
        self.settings = resolved.settings
        self.tag = tag
        self.tiers = tiers
        self.metrics = metrics
        self.authenticator = authenticator
        self.tracer = tracer
        self.version = version
        self.phase: Phase = "starting"
        metrics.ready.set_function(lambda: self.phase == "ready")
        # However many ask for the health at once, the tiers are pinged once.
        self._health: Batcher[str, Health] = Batcher(
            self._check, name="the health check", in_flight=1, batch=1, waiting=1000, joined=True
        )

    async def health(self) -> Health:
        """Ping every tier."""
        return await self._health("health")

    def can_do(self, up: Collection[Kind]) -> bool:
        """Tell whether anything can be done with the tiers that are up."""
        raise NotImplementedError

    @property
    def limits(self) -> Limits | None:
        """The largest key and value that are taken here, where any are."""
        return None

    async def _check(self, asked: Sequence[str]) -> Sequence[Health]:
        pings = await asyncio.gather(*(_ping(tier) for tier in self.tiers.values()))
        components = dict(zip(self.tiers, pings, strict=True))
        up = {kind for kind, component in components.items() if component.status == "up"}
        well = all(one.status == "up" and one.breaker is BreakerState.CLOSED for one in components.values())
        health = Health(
            status="healthy" if well else "degraded" if self.can_do(up) else "unhealthy",
            components=components,
            version=self.version,
            node=self.tag,
            profile=self.settings.profile,
            limits=self.limits,
        )
        return [health] * len(asked)


class Node(Instance):
    """A running node: what HTTP and the command line are built on."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        clock: HybridClock,
        tiers: dict[Kind, Tier[Any]],
        service: KeyValueService,
        administration: Administration,
        metrics: Metrics,
        authenticator: Authenticator | None = None,
        tracer: Tracer | None = None,
        version: str = __version__,
    ) -> None:
        super().__init__(
            resolved,
            tag=clock.tag,
            tiers=tiers,
            metrics=metrics,
            authenticator=authenticator,
            tracer=tracer,
            version=version,
        )
        self.clock = clock
        self.service = service
        self.administration = administration
        metrics.clock_ahead.set_function(lambda: clock.ahead_ms() / 1000)

    def can_do(self, up: Collection[Kind]) -> bool:
        """A node can write as long as it has the queue or the store."""
        return "queue" in up or "store" in up

    @property
    def limits(self) -> Limits:
        """The largest key and value that this node takes now."""
        return self.service.bounds.limits


class WorkerInstance(Instance):
    """A running worker, in a process of its own."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        worker: Worker,
        tag: str,
        tiers: dict[Kind, Tier[Any]],
        metrics: Metrics,
        authenticator: Authenticator | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        super().__init__(resolved, tag=tag, tiers=tiers, metrics=metrics, authenticator=authenticator, tracer=tracer)
        self.worker = worker

    def can_do(self, up: Collection[Kind]) -> bool:
        """A worker takes from the queue and gives to the store."""
        return "queue" in up and "store" in up


async def _ping(tier: Tier[Any]) -> ComponentHealth:
    began = time.perf_counter()
    server = detail = ""
    try:
        async with asyncio.timeout(tier.settings.deadline_s):
            server = await tier.backend.ping()
        tier.breaker.pinged()
    except TimeoutError:
        detail = f"no answer within {tier.settings.deadline_s:g} s"
    except UnavailableError as error:
        detail = str(error)
    except Exception as error:  # a fault of the backend: it is down as far as anybody can tell
        logger.exception("%s raised what its contract does not allow", tier.name)
        detail = type(error).__name__
    return ComponentHealth(
        status="down" if detail else "up",
        backend=tier.settings.backend,
        server=server,
        breaker=tier.breaker.state,
        ping_ms=round((time.perf_counter() - began) * 1000, 3),
        detail=detail,
    )


@asynccontextmanager
async def open_node(resolved: Resolved, plugins: Plugins, *, clock: HybridClock | None = None) -> AsyncIterator[Node]:
    """Open the tiers and what runs on them, yield the node, and close everything in reverse.

    Raises:
        PluginError: a plugin fails to give its observer.
        SettingsError: a backend cannot work with its settings, tokens are asked for and there are none, or the node would
            let everybody in from other machines by oversight.
        UnavailableError: a backend cannot be opened now.
    """
    refuse_exposure(resolved)
    settings = resolved.settings
    clock = clock or HybridClock(max_ahead_ms=int(settings.clock.max_ahead_s * 1000))
    metrics = Metrics()
    applied = _observers(plugins)
    async with AsyncExitStack() as stack:
        authenticator = await _open_authenticator(stack, resolved, plugins, metrics)
        tracer = await _open_tracer(stack, resolved, plugins, clock.tag)
        tiers = await _open_tiers(stack, resolved, plugins, metrics, tracer)
        cache, queue, store = tiers["cache"], tiers.get("queue"), tiers["store"]
        service = KeyValueService(
            settings, clock=clock, cache=cache, queue=queue, store=store, metrics=metrics, applied=applied
        )
        stack.push_async_callback(service.aclose)
        if settings.worker.in_node and queue is not None:
            worker = Worker(settings, cache=cache, queue=queue, store=store, metrics=metrics, applied=applied)
            await stack.enter_async_context(_running(worker.run, "worker"))
        administration = Administration(settings, clock=clock, tiers=tiers, metrics=metrics)
        purge = partial(_purge, administration, settings.store.purge_interval_s)
        await stack.enter_async_context(_running(purge, "purge"))
        yield Node(
            resolved,
            clock=clock,
            tiers=tiers,
            service=service,
            administration=administration,
            metrics=metrics,
            authenticator=authenticator,
            tracer=tracer,
        )


@asynccontextmanager
async def open_worker(resolved: Resolved, plugins: Plugins) -> AsyncIterator[WorkerInstance]:
    """Open the tiers and yield a worker, to be run.

    Raises:
        PluginError: a plugin fails to give its observer.
        SettingsError: there is no queue, a backend cannot work with its settings, or tokens are asked for and there are none.
        UnavailableError: a backend cannot be opened now.
    """
    if resolved.settings.queue.backend == NO_QUEUE:
        raise SettingsError(f"queue.backend = {NO_QUEUE!r}: without a queue there is nothing for a worker to do")
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        tag = secrets.token_hex(4)
        authenticator = await _open_authenticator(stack, resolved, plugins, metrics)
        tracer = await _open_tracer(stack, resolved, plugins, tag)
        tiers = await _open_tiers(stack, resolved, plugins, metrics, tracer)
        worker = Worker(
            resolved.settings,
            cache=tiers["cache"],
            queue=tiers["queue"],
            store=tiers["store"],
            metrics=metrics,
            applied=_observers(plugins),
        )
        yield WorkerInstance(
            resolved,
            worker=worker,
            tag=tag,
            tiers=tiers,
            metrics=metrics,
            authenticator=authenticator,
            tracer=tracer,
        )


async def _open_authenticator(
    stack: AsyncExitStack, resolved: Resolved, plugins: Plugins, metrics: Metrics
) -> Authenticator | None:
    opening = open_authenticator(resolved, plugins, failed=metrics.auth_file_errors.inc)
    return await stack.enter_async_context(opening)


async def _open_tracer(stack: AsyncExitStack, resolved: Resolved, plugins: Plugins, tag: str) -> Tracer | None:
    exporter = resolved.settings.tracing.exporter
    if exporter is None:
        return None
    return await stack.enter_async_context(plugins.tracing(exporter).open(resolved.tracing, tag))


async def _open_tiers(
    stack: AsyncExitStack, resolved: Resolved, plugins: Plugins, metrics: Metrics, tracer: Tracer | None
) -> dict[Kind, Tier[Any]]:
    settings = resolved.settings
    chosen: dict[Kind, TierSettings] = {"store": settings.store, "cache": settings.cache, "queue": settings.queue}
    opened: dict[Kind, Tier[Any]] = {}
    for kind, tier in chosen.items():
        if tier.backend == NO_QUEUE:
            continue
        factory = plugins.choose(kind, tier.backend)
        backend: Cache | Queue | Store = await stack.enter_async_context(factory.open(resolved.backends[kind]))
        opened[kind] = Tier(
            kind,
            backend,
            tier,
            ended=partial(metrics.tiers.calls, kind),
            entered=partial(metrics.tiers.breaker_entered, kind),
            refused=metrics.tiers.refused(kind),
            tracer=tracer,
        )
        metrics.tiers.watch(opened[kind])
    return {kind: opened[kind] for kind in ("cache", "queue", "store") if kind in opened}


def _observers(plugins: Plugins) -> Callable[[Sequence[Mutation]], None]:
    functions: list[Callable[[Sequence[Mutation]], None]] = plugins.given("kvcore_applied")

    def applied(mutations: Sequence[Mutation]) -> None:
        for function in functions:
            try:
                function(mutations)
            except Exception:  # a fault of a plugin, which must not stop the writes
                logger.exception("a plugin failed to take note of what was applied")

    return applied


@asynccontextmanager
async def _running(run: Callable[[], Awaitable[None]], name: str) -> AsyncIterator[None]:
    """Run something in the background; cancel it, and wait for its end, on leaving."""

    async def watched() -> None:
        try:
            await run()
        except Exception:  # a fault of ours: nobody awaits this task before the end
            logger.critical("the %s of this node has ended by a fault and does not run any more", name, exc_info=True)

    task = asyncio.create_task(watched(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _purge(administration: Administration, interval_s: float) -> None:
    """Remove what need not be remembered any longer, in small portions, at every interval."""
    while True:
        try:
            more = True
            while more:
                began = time.monotonic()
                more = (await administration.purge()).more
                await asyncio.sleep(max(0.01, time.monotonic() - began))  # half of the time at least is for others
        except UnavailableError as error:
            logger.warning("could not purge: %s", error)
        await asyncio.sleep(interval_s)
