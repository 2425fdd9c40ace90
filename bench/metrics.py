"""What counting costs a request: `python -m bench.metrics`."""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import sys
import time
import timeit
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import prometheus_client
import uvloop

from kvcore.config import resolve
from kvcore.http.app import build_app
from kvcore.metrics.families import Count, Histogram
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node

_KEYS: Final = 1000
_VALUE: Final = b"v" * 100
_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

App = Callable[..., Awaitable[None]]
Costs = Mapping[str, float]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests of each kind in a round (2000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the fastest is told (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    own, client = _costs_us(Count().inc, Histogram(_BOUNDS).observe), _costs_of_client_us()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(_measure(arguments.rounds, arguments.requests))
    found = {scenario: _figures(*one, own, client) for scenario, one in measured.items()}
    print(f"{'scenario':<16}" + "".join(f"{name:>18}" for name in next(iter(found.values()))))
    for scenario, figures in found.items():
        print(f"{scenario:<16}" + "".join(f"{figure:18.3f}" for figure in figures.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _figures(tally: Costs, request_us: float, own: Costs, client: Costs) -> dict[str, float]:
    metrics_us, client_us = (sum(tally[kind] * costs[kind] for kind in tally) for costs in (own, client))
    return {
        "counts": tally["inc"],
        "observations": tally["observe"],
        "metrics_us": metrics_us,
        "request_us": request_us,
        "ratio": metrics_us / request_us,
        "with_client_us": client_us,
    }


def _costs_us(inc: Callable[[], None], observe: Callable[[float], None]) -> Costs:
    """Return the microseconds that each takes, the call included."""
    calls: dict[str, Callable[[], None]] = {"inc": inc, "observe": lambda: observe(0.0003)}
    return {kind: min(timeit.repeat(call, number=20_000, repeat=20)) / 20_000 * 1e6 for kind, call in calls.items()}


def _costs_of_client_us() -> Costs:
    """Return the same for the classes of prometheus_client."""
    registry = prometheus_client.CollectorRegistry()
    count = prometheus_client.Counter("count", "Counts.", registry=registry)
    histogram = prometheus_client.Histogram("seconds", "Times.", buckets=_BOUNDS, registry=registry)
    return _costs_us(count.inc, histogram.observe)


async def _measure(rounds: int, requests: int) -> dict[str, tuple[Costs, float]]:
    """Return, for each scenario, what a request counts, and the microseconds of processor time that it takes."""
    tally: collections.Counter[str] = collections.Counter()
    async with AsyncExitStack() as stack:
        plain = await _opened(stack)
        count, histogram = _tallying(tally)
        with patch.multiple("kvcore.metrics.families", Count=count, Histogram=histogram):
            tallying = await _opened(stack)
        found: dict[str, tuple[Costs, float]] = {}
        for method in ("PUT", "GET"):
            for at_once in (1, 64):
                for app in (plain, tallying):
                    await _ask_all(app, method, _KEYS, at_once)  # so that every key is cached
                tally.clear()
                await _ask_all(tallying, method, requests, at_once)
                counted = {kind: number / requests for kind, number in tally.items()}
                taken = [await _ask_all(plain, method, requests, at_once) for _ in range(rounds)]
                found[f"{method}, {at_once} at once"] = counted, min(taken)
    return found


def _tallying(tally: collections.Counter[str]) -> tuple[type[Count], type[Histogram]]:
    """Return classes that only count how often they are asked to count."""

    class TallyingCount(Count):
        def inc(self, amount: float = 1) -> None:
            tally["inc"] += 1

    class TallyingHistogram(Histogram):
        def observe(self, value: float) -> None:
            tally["observe"] += 1

    return TallyingCount, TallyingHistogram


async def _opened(stack: AsyncExitStack) -> App:
    plugins = load_plugins()
    resolved = resolve(plugins, environment={}, flags={"profile": "memory"})
    return build_app(await stack.enter_async_context(open_node(resolved, plugins)), plugins)


async def _ask_all(app: App, method: str, requests: int, at_once: int) -> float:
    """Send requests, so many at once, and return the microseconds of processor time that one takes."""
    began = time.process_time()
    for first in range(0, requests, at_once):
        if at_once == 1:
            await _ask(app, method, first % _KEYS)
        else:
            await asyncio.gather(*(_ask(app, method, (first + number) % _KEYS) for number in range(at_once)))
    return (time.process_time() - began) / requests * 1e6


async def _ask(app: App, method: str, number: int) -> None:
    path = f"/kv/key-{number}"
    headers = [(b"host", b"localhost"), (b"content-length", b"%d" % len(_VALUE))]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers if method == "PUT" else headers[:1],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": _VALUE if method == "PUT" else b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 300:
            raise RuntimeError(f"{method} {path} was answered {message['status']}")

    await app(scope, receive, send)


if __name__ == "__main__":
    sys.exit(main())
