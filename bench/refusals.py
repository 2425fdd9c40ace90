"""Whether the time of a refusal tells what was wrong with a token: `python -m bench.refusals`."""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.client import HOST
from kvcore.testing.nodes import running_node
from kvcore.tokens import digest_of, new_token

_BATCHES: Final = 20


def main() -> int:
    """Measure, print a table, and return 1 if anything else than a refusal was answered."""
    parser = argparse.ArgumentParser(prog="python -m bench.refusals", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="requests of each kind (10000)")
    parser.add_argument("--tokens", type=int, default=1000, help="tokens that the node knows (1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    known = [new_token() for _ in range(arguments.tokens)]
    over = new_token()
    with tempfile.TemporaryDirectory(prefix="kvcore-bench-") as folder:
        file = Path(folder) / "tokens.toml"
        file.write_text("\n".join([*map(_entry, known), _entry(over) + "expires = 2020-01-01T00:00:00Z\n"]))
        with running_node({"profile": "memory", "auth.file": str(file)}) as node:
            times = _measure(node.port, _requests(known[0], over), arguments.requests)
    print(_table(times))
    if arguments.json:
        found = {kind: {"median_us": statistics.median(taken) * 1e6} for kind, taken in times.items()}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _entry(token: str) -> str:
    digest = digest_of(token).hex()
    return f'[[tokens]]\nname = "{digest[:16]}"\nsha256 = "{digest}"\nscopes = ["read"]\n'


def _requests(known: str, over: str) -> dict[str, list[bytes]]:
    """Return what is sent, by what is wrong with it; all of one length, but for the first two, so that only the token differs."""
    first = "B" if known[4] != "B" else "C"
    last = "B" if known[-1] != "B" else "C"
    return {
        "missing": [_request(None)],
        "malformed": [_request("Bearer " + "!" * len(known))],
        "unknown": [_request(f"Bearer {new_token()}") for _ in range(1000)],
        "expired": [_request(f"Bearer {over}")],
        "almost right: the first character": [_request(f"Bearer {known[:4]}{first}{known[5:]}")],
        "almost right: the last character": [_request(f"Bearer {known[:-1]}{last}")],
    }


def _request(authorization: str | None) -> bytes:
    # Without a token a field of the same length stands in its place, so that the parsing of the head costs the same.
    field = f"authorization: {authorization}" if authorization else "x-other-field: Bearer " + "x" * 47
    return f"GET /kv?key=a HTTP/1.1\r\nhost: {HOST}\r\n{field}\r\n\r\n".encode()


def _measure(port: int, requests: dict[str, list[bytes]], number: int) -> dict[str, list[float]]:
    """Send all kinds in random order over one connection, and return the seconds that each answer took."""
    times: dict[str, list[float]] = {kind: [] for kind in requests}
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(200):
            _ask(connection, requests["missing"][0])
        for _ in range(number):
            for kind in random.sample(list(requests), len(requests)):
                times[kind].append(_ask(connection, random.choice(requests[kind])))
    return times


def _ask(connection: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    connection.sendall(request)
    answer = connection.recv(65_536)
    taken = time.perf_counter() - began
    while not answer.endswith(b"}"):
        answer += connection.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 401 "):
        raise SystemExit(f"not a refusal: {answer[:80]!r}")
    return taken


def _table(times: dict[str, list[float]]) -> str:
    """Return a table; the spread is that of the medians of parts of the measurement, which is what chance does to a median."""
    rows = [
        "| what is wrong | median µs | spread of the median µs | p10 µs | p90 µs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, taken in times.items():
        parts = [statistics.median(taken[start::_BATCHES]) * 1e6 for start in range(_BATCHES)]
        deciles = statistics.quantiles(taken, n=10)
        spread = statistics.stdev(parts) / _BATCHES**0.5
        cells = (statistics.median(taken) * 1e6, spread, deciles[0] * 1e6, deciles[-1] * 1e6)
        rows.append(f"| {kind} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
