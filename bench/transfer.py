"""A million keys out of one node and into another: how fast, in how much memory, and the same? `python -m bench.transfer`."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path: this folder must not hide the standard library's `http`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import filecmp
import json
import os
import subprocess
import tempfile
import time
from random import Random
from typing import NamedTuple

from bench.servers import Server, embedded_node, rss_mb


class Measured(NamedTuple):
    """A run of kvctl. `peak_mb`: the most memory that its process had in RAM, in 10^6 bytes; `node_mb`: what the node has after it.

    `cpu_s` and `node_cpu_s`: processor time of each, which says more than the rate where others use the machine too.
    """

    what: str
    seconds: float
    keys_per_s: float
    peak_mb: float
    cpu_s: float
    node_mb: float
    node_cpu_s: float

    def rounded(self) -> dict[str, object]:
        """Return the figures with as many digits as mean something."""
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in self._asdict().items()}


def main() -> int:
    """Measure, print JSON lines, and tell by the exit code whether all came back byte for byte within the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=100, help="of each value, about")
    parser.add_argument("--suffix", default=".jsonl", choices=[".jsonl", ".jsonl.gz", ".jsonl.zst"])
    parser.add_argument("--most-mb", type=float, default=150.0, help="of kvctl; more is a failure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures into this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvcore-bench-") as name:
        folder = Path(name)
        seed = folder / "seed.jsonl"
        first, second = (folder / f"{which}{arguments.suffix}" for which in ("first", "second"))
        _write_seed(seed, arguments.keys, arguments.value_bytes)
        measured = []
        with embedded_node(_made(folder / "here")) as node:
            measured.append(_kvctl("import", node, arguments.keys, "import", str(seed)))
            measured.append(_kvctl("export", node, arguments.keys, "export", "--output", str(first)))
        with embedded_node(_made(folder / "there")) as node:
            measured.append(
                _kvctl("import --keep-versions", node, arguments.keys, "import", "--keep-versions", str(first))
            )
            measured.append(_kvctl("second export", node, arguments.keys, "export", "--output", str(second)))
        is_same = filecmp.cmp(first, second, shallow=False)
        figures = [one.rounded() for one in measured]
        figures.append({"keys": arguments.keys, "file_mb": round(first.stat().st_size / 1e6, 1), "is_same": is_same})
        for figure in figures:
            print(json.dumps(figure))
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
        return 0 if is_same and max(one.peak_mb for one in measured) <= arguments.most_mb else 1


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _write_seed(path: Path, keys: int, value_bytes: int) -> None:
    chance = Random(1)
    with path.open("w") as file:
        for number in range(keys):
            text = chance.randbytes(value_bytes // 2).hex()
            file.write(f'{{"key":"key/{number:09}","value":{{"n":{number},"text":"{text}"}}}}\n')


def _kvctl(what: str, node: Server, keys: int, *arguments: str) -> Measured:
    """Run kvctl to its end.

    Raises:
        RuntimeError: it fails.
    """
    environment = os.environ | {"KVCORE_URL": f"http://127.0.0.1:{node.port}"}
    began_s, node_began_s = time.perf_counter(), _cpu_s(node.pid)
    process = subprocess.Popen([sys.executable, "-m", "kvcore.cli", *arguments], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began_s
    if status:
        raise RuntimeError(f"kvctl {' '.join(arguments)} ended with {status}")
    process.returncode = 0  # it was waited for: nobody else can
    peak_mb = usage.ru_maxrss * 1024 / 1e6
    cpu_s, node_cpu_s = usage.ru_utime + usage.ru_stime, _cpu_s(node.pid) - node_began_s
    return Measured(what, seconds, keys / seconds, peak_mb, cpu_s, rss_mb(node.pid), node_cpu_s)


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used. Linux only."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
