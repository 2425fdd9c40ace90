"""Starts the installed `kvctl serve` and writes, reads and deletes a key with the installed `kvctl`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from kvcore.testing.nodes import running_node


def main() -> None:
    """Fail loudly when anything is not as it should be."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_node({"store.sqlite.path": str(Path(folder) / "kv.db")}) as node,
    ):

        def kvctl(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["kvctl", *arguments, "--url", node.url]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        steps = [
            (kvctl("health"), 0, "healthy"),
            (kvctl("put", "greeting", "hello"), 0, "stored"),
            (kvctl("get", "greeting"), 0, "hello\n"),
            (kvctl("delete", "greeting"), 0, "stored"),
            (kvctl("get", "greeting"), 3, ""),
        ]
        code = node.stop()
    for done, exit_code, words in steps:
        if done.returncode != exit_code or words not in done.stdout:
            raise SystemExit(f"{done.args}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    if code != 0:
        raise SystemExit(f"kvctl serve ended with {code}")
    print("the installed kvctl serves, writes, reads and deletes")


if __name__ == "__main__":
    main()
