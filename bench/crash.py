"""kill -9 under load, again and again: is every acknowledged write there after the restart? `python -m bench.crash`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run by its path: this folder must not hide the standard library's `http`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import asyncio
import json
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

import uvloop

from bench.client import Answer, Request, drive, get_bytes, put_bytes
from bench.servers import Server, embedded_node

_CONNECTIONS: Final = 64
_LIMIT_S: Final = 600
_KILL_WITHIN_S: Final = 0.005


class Put(NamedTuple):
    """One write of a campaign; no two have the same number, which is all that its value says."""

    key: str
    number: int

    @property
    def value(self) -> str:
        """Return 100 digits."""
        return f"{self.number:0100}"


class Round(NamedTuple):
    """What one round came to. `missing`: keys that are not as they must be; `examples` says of the first ones what is wrong."""

    seed: int
    acknowledged: int
    in_flight: int
    refused: int
    missing: int
    restart_s: float
    examples: list[str]


class Ledger:
    """What the writers know: for each key its newest acknowledged write, and the writes whose fate nobody was told."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.refused = 0
        self.newest: dict[str, tuple[str, Put]] = {}
        self.unknown: defaultdict[str, list[Put]] = defaultdict(list)

    def take_note(self, put: Put, answer: Answer) -> None:
        """Note the answer to a write."""
        if answer.status != 200:
            self.refused += 1
            self.unknown[put.key].append(put)
            return
        self.acknowledged += 1
        version = json.loads(answer.body)["data"]["version"]
        held = self.newest.get(put.key)
        if held is None or version > held[0]:
            self.newest[put.key] = (version, put)

    def fault(self, key: str, answer: Answer) -> str | None:
        """Say what is wrong with what a key reads as after the restart; None: nothing."""
        version, put = self.newest.get(key, ("", None))
        if answer.status == 404:
            return f"{key}: version {version} was acknowledged and is gone" if put else None
        if answer.status != 200:
            return f"{key}: cannot be read, status {answer.status}"
        if answer.version < version:
            return f"{key}: version {version} was acknowledged, {answer.version} is there"
        allowed = [put] if put and answer.version == version else self.unknown[key]
        value = json.loads(answer.body)["data"]["value"]
        if value not in [one.value for one in allowed]:
            return f"{key}: version {answer.version} has a value that no such write had: {value!r}"
        return None


def main() -> int:
    """Run the campaign, print a line for each round, and return 1 if any round found a fault."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C: with all that it has started
    print(
        f"{'round':>5} {'seed':>6} {'acknowledged':>12} {'in flight':>9} {'refused':>7} {'missing':>7} {'restart s':>9}"
    )
    done: list[Round] = []
    for number in range(arguments.rounds):
        found = _round(arguments.seed + number, arguments.puts)
        figures = f"{found.in_flight:9} {found.refused:7} {found.missing:7} {found.restart_s:9.2f}"
        print(f"{number + 1:5} {found.seed:6} {found.acknowledged:12,} {figures}", flush=True)
        for example in found.examples:
            print(f"      {example}", flush=True)
        done.append(found)
    if arguments.json:
        arguments.json.write_text(json.dumps([found._asdict() for found in done], indent=2) + "\n")
    return 1 if any(found.missing or not found.acknowledged for found in done) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often to kill the node (20)")
    parser.add_argument("--puts", type=int, default=100_000, help="writes that a round sets out to do (100000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round; each has the next one (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser.parse_args()


def _round(seed: int, puts: int) -> Round:
    random, ledger = Random(seed), Ledger()
    with (
        tempfile.TemporaryDirectory(prefix="kvcore-crash-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        with embedded_node(Path(folder)) as node:
            in_flight = runner.run(_write_until_killed(node, ledger, random, puts))
        with embedded_node(Path(folder)) as node:
            faults = runner.run(_read_back(node.port, ledger))
    return Round(seed, ledger.acknowledged, in_flight, ledger.refused, len(faults), node.ready_s, faults[:5])


async def _write_until_killed(node: Server, ledger: Ledger, random: Random, puts: int) -> int:
    """Write, kill the node at a random moment, and return how many writes were in flight then."""
    loop = asyncio.get_running_loop()
    moment, delay_s = random.randrange(puts // 20, puts * 9 // 10), random.uniform(0, _KILL_WITHIN_S)

    def answered(put: Put, answer: Answer) -> None:
        ledger.take_note(put, answer)
        if ledger.acknowledged == moment:
            loop.call_later(delay_s, os.kill, node.pid, signal.SIGKILL)

    async with asyncio.timeout(_LIMIT_S):
        unanswered = await drive(node.port, _puts(random, puts), answered, connections=_CONNECTIONS)
    # Where so many were refused that the moment never came, the node is killed now, by `embedded_node`.
    for request in unanswered:
        ledger.unknown[request.tag.key].append(request.tag)
    return len(unanswered)


def _puts(random: Random, puts: int) -> Iterator[Request[Put]]:
    """Yield half of the writes to keys of their own, and half to a few keys over and over."""
    for number in range(puts):
        again = random.random() < 0.5
        put = Put(f"again/{random.randrange(1 + puts // 1000)}" if again else f"once/{number}", number)
        yield Request(put_bytes(put.key, put.value, path="/kv?ack=stored"), put)


async def _read_back(port: int, ledger: Ledger) -> list[str]:
    faults: list[str] = []
    keys = ledger.newest.keys() | ledger.unknown.keys()

    def answered(key: str, answer: Answer) -> None:
        if fault := ledger.fault(key, answer):
            faults.append(fault)

    requests = (Request(get_bytes(key), key) for key in sorted(keys))
    async with asyncio.timeout(_LIMIT_S):
        unanswered = await drive(port, requests, answered, connections=_CONNECTIONS)
    return faults + [f"{request.tag}: no answer" for request in (*unanswered, *requests)]


if __name__ == "__main__":
    sys.exit(main())
