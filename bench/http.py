"""Requests per second of a node, side by side with a bare ASGI application: `python -m bench.http`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run by its path: this folder must not hide the standard library's `http`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import asyncio
import http.client
import json
import platform
import signal
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final, Literal, NamedTuple

import uvloop

from bench.client import HOST, get_bytes, put_all, put_bytes
from bench.generators import GENERATORS, Generator, Load, Report, choose
from bench.servers import Server, bare_asgi, embedded_node, production_node, production_servers, proxied

Target = Literal["kvcore", "bare"]
TARGETS: Final[tuple[Target, Target]] = ("kvcore", "bare")
WARM_UP_S: Final = 1


class Scenario(NamedTuple):
    """One kind of load, as requests for each of the two servers that differ in the path only."""

    name: str
    succeeds: bool
    wires: dict[Target, list[bytes]]


class Result(NamedTuple):
    """The medians over all rounds; `errors` is the sum, `ratio` the median of what each round had against bare ASGI."""

    scenario: str
    kvcore: Report
    bare: Report
    ratio: float


def main() -> int:
    """Measure, print a table, and return 1 if there was any error."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C: with all that it has started
    name = choose(arguments.generator)
    _progress(f"generator: {name}; {arguments.connections} connections, {arguments.value_bytes}-byte values")
    with tempfile.TemporaryDirectory(prefix="kvcore-bench-") as folder, _servers(Path(folder), arguments) as ports:
        scenarios = _scenarios(arguments)
        rounds = [_measure(ports, scenarios, GENERATORS[name], arguments, number) for number in range(arguments.rounds)]
    results = [_summary(scenario.name, [done[scenario.name] for done in rounds]) for scenario in scenarios]
    print(_table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(results, name, arguments), indent=2) + "\n")
    return 1 if any(report.errors for result in results for report in (result.kvcore, result.bare)) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--profile", choices=("embedded", "production"), default="embedded",
                        help="production: one node and one worker, on private servers beside them (embedded)")  # fmt: skip
    parser.add_argument("--through-nginx", action="store_true", help="ask the node through the NGINX of deploy/nginx")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (64)")
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind (5)")
    parser.add_argument("--value-bytes", type=int, default=100, help="size of a value as JSON, from 2 (100)")
    parser.add_argument("--keys", type=int, default=10_000, help="how many keys the requests go to in turn (10000)")
    parser.add_argument("--generator", choices=tuple(GENERATORS), help="default: wrk where it is installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser.parse_args()


# --- what is measured -------------------------------------------------------------------------------------------------


def _scenarios(arguments: argparse.Namespace) -> list[Scenario]:
    def wires(hit: str, miss: str, put: str) -> list[list[bytes]]:
        keys = range(arguments.keys)
        hits = [get_bytes(_present(number), path=hit) for number in keys]
        puts = [put_bytes(_present(number), _value(arguments.value_bytes), path=put) for number in keys]
        misses = [get_bytes(_absent(number), path=miss) for number in keys]
        mixed = [puts[number] if number % 10 == 0 else hits[number] for number in keys]
        return [hits, misses, puts, mixed]

    kinds = (("GET hit", True), ("GET miss", False), ("PUT", True), ("mixed 90/10", True))
    both = zip(kinds, wires("/kv", "/kv", "/kv"), wires("/hit", "/miss", "/put"), strict=True)
    return [Scenario(name, succeeds, {"kvcore": node, "bare": bare}) for (name, succeeds), node, bare in both]


def _present(number: int) -> str:
    return f"present/{number:08}"


def _absent(number: int) -> str:
    return f"absent/{number:09}"


def _value(json_bytes: int) -> str:
    return "v" * (json_bytes - 2)  # and two quotes around it


@contextmanager
def _servers(folder: Path, arguments: argparse.Namespace) -> Iterator[dict[Target, int]]:
    """Start both, the node with every key that is read."""
    with (
        _node(folder, arguments.profile) as node,
        bare_asgi(_fill(node, arguments)) as bare,
        proxied(node.port) if arguments.through_nginx else nullcontext(node.port) as port,
    ):
        yield {"kvcore": port, "bare": bare.port}


@contextmanager
def _node(folder: Path, profile: str) -> Iterator[Server]:
    if profile == "embedded":
        with embedded_node(folder) as node:
            yield node
    else:
        with production_servers() as settings, production_node(settings) as node:
            yield node


def _fill(node: Server, arguments: argparse.Namespace) -> dict[str, tuple[int, str, int]]:
    """Write every key, and return how the node answers: status, content type and size, for bare ASGI to do the same."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        value = _value(arguments.value_bytes)
        runner.run(put_all(node.port, ((_present(number), value) for number in range(arguments.keys))))
    connection = http.client.HTTPConnection(HOST, node.port, timeout=10)
    headers = {"Content-Type": "application/json"}

    def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, str, int]:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        size = len(answer.read())
        return answer.status, answer.headers["content-type"], size

    document = {"data": {"key": _present(0), "value": value}}
    answers = {
        "/put": ask("PUT", "/kv", json.dumps(document).encode()),
        "/hit": ask("GET", f"/kv?key={_present(0)}"),
        "/miss": ask("GET", f"/kv?key={_absent(0)}"),
    }
    connection.close()
    statuses = tuple(answer[0] for answer in answers.values())
    if statuses not in ((200, 200, 404), (202, 200, 404)):
        raise RuntimeError(
            f"PUT, GET and GET of an absent key should answer 200 or 202, 200 and 404, and did {statuses}"
        )
    return answers


def _measure(
    ports: dict[Target, int],
    scenarios: list[Scenario],
    generate: Generator,
    arguments: argparse.Namespace,
    number: int,
) -> dict[str, dict[Target, Report]]:
    """Do one round: every scenario on both servers, one right after the other so that a slow minute hits both."""
    found: dict[str, dict[Target, Report]] = {}
    for scenario in scenarios:
        reports: dict[Target, Report] = {}
        for target in TARGETS if number % 2 == 0 else reversed(TARGETS):
            load = Load(scenario.wires[target], scenario.succeeds, arguments.connections, arguments.seconds)
            if number == 0:
                generate(ports[target], load._replace(seconds=WARM_UP_S))
            reports[target] = generate(ports[target], load)
        rates = ", ".join(f"{target} {reports[target].requests_per_s:,.0f}/s" for target in TARGETS)
        _progress(f"round {number + 1}/{arguments.rounds}  {scenario.name:<12} {rates}")
        found[scenario.name] = reports
    return found


# --- what comes of it -------------------------------------------------------------------------------------------------


def _summary(scenario: str, rounds: list[dict[Target, Report]]) -> Result:
    ratio = statistics.median(
        reports["kvcore"].requests_per_s / max(reports["bare"].requests_per_s, 1e-9) for reports in rounds
    )
    kvcore, bare = (_middle([reports[target] for reports in rounds]) for target in TARGETS)
    return Result(scenario, kvcore, bare, ratio)


def _middle(reports: list[Report]) -> Report:
    return Report(
        statistics.median(report.requests_per_s for report in reports),
        statistics.median(report.p50_ms for report in reports),
        statistics.median(report.p99_ms for report in reports),
        sum(report.errors for report in reports),
    )


def _table(results: list[Result]) -> str:
    lines = [f"{'':<12} {'server':<7} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7} {'ratio':>6}"]
    for result in results:
        for target, report in (("kvcore", result.kvcore), ("bare", result.bare)):
            name, ratio = (result.scenario, f"{result.ratio:6.2f}") if target == "kvcore" else ("", "")
            figures = f"{report.requests_per_s:11,.0f} {report.p50_ms:8.2f} {report.p99_ms:8.2f} {report.errors:7}"
            lines.append(f"{name:<12} {target:<7} {figures} {ratio}".rstrip())
    return "\n".join(lines)


def _document(results: list[Result], generator: str, arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "generator": generator,
        **{
            name: getattr(arguments, name)
            for name in ("profile", "through_nginx", "connections", "seconds", "rounds", "value_bytes", "keys")
        },
        "results": [
            {
                "scenario": result.scenario,
                "ratio": result.ratio,
                "kvcore": result.kvcore._asdict(),
                "bare": result.bare._asdict(),
            }
            for result in results
        ],
    }


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
