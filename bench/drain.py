"""Mutations per second that one worker takes from the queue and brings to store and cache: `python -m bench.drain`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from itertools import islice
from typing import Final

import uvloop

from bench.servers import production_servers
from kvcore.clock import HybridClock
from kvcore.config import resolve
from kvcore.model import Entry, Mutation
from kvcore.plugins import load_plugins
from kvcore.testing.nodes import running_worker

_PACK: Final = 256
_PUBLISHERS: Final = 4
_LIMIT_S: Final = 600.0


def main() -> int:
    """Fill the queue while no worker runs, then measure how fast one empties it; print the rate of each round."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C: with all that it has started
    with production_servers() as settings:
        for number in range(arguments.rounds):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                filled_s = runner.run(_fill(settings, arguments, number))
            with running_worker(settings) as worker:
                rate = _drained(worker.url, arguments.mutations)
            print(
                f"round {number + 1}/{arguments.rounds}: {arguments.mutations:,} mutations of {arguments.value_bytes} bytes"
                f" published at {arguments.mutations / filled_s:,.0f}/s, drained at {rate:,.0f}/s",
                flush=True,
            )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.drain", description=__doc__)
    parser.add_argument("--mutations", type=int, default=200_000, help="how many to drain (200000)")
    parser.add_argument("--keys", type=int, default=100_000, help="over how many keys they go (100000)")
    parser.add_argument("--value-bytes", type=int, default=100, help="size of a value (100)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements (3)")
    return parser.parse_args()


async def _fill(settings: Mapping[str, str], arguments: argparse.Namespace, number: int) -> float:
    """Publish, and return how many seconds that took."""
    plugins = load_plugins()
    resolved = resolve(plugins, environment={}, flags=settings)
    clock = HybridClock(max_ahead_ms=60_000)
    value = b"v" * arguments.value_bytes
    mutations = iter(
        [
            Mutation(f"drain/{number}/{n % arguments.keys:08}", Entry(clock.stamp(), value))
            for n in range(arguments.mutations)
        ]
    )
    async with plugins.choose("queue", resolved.settings.queue.backend).open(resolved.backends["queue"]) as queue:
        async with asyncio.timeout(_LIMIT_S):
            await queue.ping()
            began = time.perf_counter()

            async def publish() -> None:
                while pack := list(islice(mutations, _PACK)):
                    await queue.publish("writes", pack)

            await asyncio.gather(*(publish() for _ in range(_PUBLISHERS)))
            return time.perf_counter() - began


def _drained(url: str, mutations: int) -> float:
    """Return the rate of a worker from the first look at it until it has dealt with all of them."""
    before, began = _dealt_with(url), time.perf_counter()
    while (done := _dealt_with(url)) < mutations:
        if time.perf_counter() - began > _LIMIT_S:
            raise RuntimeError(f"the worker has dealt with {done:,.0f} of {mutations:,} mutations only")
        time.sleep(0.05)  # between two looks: a counter tells nobody when it has been counted up
    return (mutations - before) / (time.perf_counter() - began)


def _dealt_with(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("kvcore_mutations_total{"))


if __name__ == "__main__":
    sys.exit(main())
