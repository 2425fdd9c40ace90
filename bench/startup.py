"""What a node costs before it serves anything, and the memory it holds after: `python -m bench.startup`."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path: this folder must not hide the standard library's `http`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import tempfile
from typing import Final

import uvloop

from bench.client import put_all
from bench.servers import embedded_node, rss_mb

_IMPORT: Final = "import time; began = time.perf_counter(); import kvcore; print(time.perf_counter() - began)"


def main() -> int:
    """Measure, and print one line for each figure."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C: with all that it has started
    found = {"import_s": statistics.median(_import_s() for _ in range(arguments.times))}
    found["ready_empty_s"] = statistics.median(_ready_empty_s() for _ in range(arguments.times))
    records = ((f"record/{number:08}", "v" * 98) for number in range(arguments.records))
    with tempfile.TemporaryDirectory(prefix="kvcore-bench-") as folder:
        with embedded_node(Path(folder)) as node:
            found["rss_idle_mb"] = rss_mb(node.pid)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(put_all(node.port, records))
            found["rss_loaded_mb"] = rss_mb(node.pid)
        with embedded_node(Path(folder)) as node:
            found["ready_loaded_s"] = node.ready_s
    for name, figure in found.items():
        print(f"{name:<15} {figure:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"records": arguments.records, **found}, indent=2) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--records", type=int, default=140_000, help="how many to load, of 100 bytes (140000)")
    parser.add_argument("--times", type=int, default=5, help="how often import and start are repeated (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser.parse_args()


def _import_s() -> float:
    return float(subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True).stdout)


def _ready_empty_s() -> float:
    with tempfile.TemporaryDirectory(prefix="kvcore-bench-") as folder, embedded_node(Path(folder)) as node:
        return node.ready_s


if __name__ == "__main__":
    sys.exit(main())
