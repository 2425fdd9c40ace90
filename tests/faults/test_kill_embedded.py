"""kill -9 of an embedded node under load, in short; `python -m bench.crash` is the long form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parents[2] / "bench" / "crash.py"
PUTS = 3000


def test_a_killed_node_has_every_acknowledged_write_after_its_restart(tmp_path: Path) -> None:
    """What was acknowledged before a kill -9 is there after the restart, at its version or a newer one."""
    report = tmp_path / "report.json"

    ended = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--rounds=2", f"--puts={PUTS}", f"--json={report}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    rounds = json.loads(report.read_text())
    assert [found["missing"] for found in rounds] == [0, 0]
    assert all(0 < found["acknowledged"] < PUTS for found in rounds), "the node was to be killed in the middle"
