"""Two generators of the same load: `wrk`, and one of our own for where wrk is not installed."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from bench.client import HOST, Answer, Request, drive

__all__ = ("GENERATORS", "Generator", "Load", "Report", "choose")

_SCRIPT: Final = Path(__file__).with_name("requests.lua")


class Load(NamedTuple):
    """Whole requests, sent in turn and over again for so many seconds. If it `succeeds`, every status is below 400, else none."""

    wires: Sequence[bytes]
    succeeds: bool
    connections: int
    seconds: int


class Report(NamedTuple):
    """What came of a load. `errors`: answers that should have had another status, and connections that broke."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


Generator = Callable[[int, Load], Report]


def wrk(port: int, load: Load) -> Report:
    """Put a load on a port of this machine with wrk, in one thread.

    wrk tells statuses apart only as below 400 and from 400 on, so that is what counts as an error here.
    """
    with tempfile.NamedTemporaryFile(prefix="kvcore-bench-") as file:
        file.write(b"".join(wire + b"\0" for wire in load.wires))
        file.flush()
        command = ["wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "-s", str(_SCRIPT)]
        command += [f"http://{HOST}:{port}", "--", file.name]
        limit = load.seconds + 30
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit).stdout
    found = json.loads(printed.splitlines()[-1])
    unexpected = found["refused"] if load.succeeds else found["requests"] - found["refused"]
    rate = found["requests"] / found["seconds"]
    return Report(rate, found["p50_ms"], found["p99_ms"], found["broken"] + unexpected)


def bundled(port: int, load: Load) -> Report:
    """Put a load on a port of this machine from this process; it reaches a part of wrk's rate only."""
    seconds = array("d")
    errors = 0

    def answered(_: None, answer: Answer) -> None:
        nonlocal errors
        seconds.append(answer.seconds)
        errors += (answer.status < 400) != load.succeeds

    async def run() -> float:
        began = time.perf_counter()
        async with asyncio.timeout(load.seconds + 30):
            lost = await drive(port, _until(began + load.seconds, load.wires), answered, connections=load.connections)
        nonlocal errors
        errors += len(lost)
        return time.perf_counter() - began

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took = runner.run(run())
    if not seconds:
        return Report(0.0, 0.0, 0.0, errors)
    ordered = sorted(seconds)
    p50, p99 = (ordered[len(ordered) * percent // 100] * 1000 for percent in (50, 99))
    return Report(len(ordered) / took, p50, p99, errors)


def _until(end: float, wires: Sequence[bytes]) -> Iterator[Request[None]]:
    for wire in itertools.cycle(wires):
        if time.perf_counter() >= end:
            return
        yield Request(wire, None)


GENERATORS: Final[dict[str, Generator]] = {"wrk": wrk, "bundled": bundled}


def choose(name: str | None) -> str:
    """Return the generator that is asked for, or wrk where it is installed and the bundled one elsewhere."""
    return name or ("wrk" if shutil.which("wrk") else "bundled")
