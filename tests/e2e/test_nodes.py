"""Nodes in processes of their own, as `kvcore.testing.nodes` gives them to tests."""

from __future__ import annotations

import subprocess
import sys

from kvcore.testing.servers.process import wait_until
from kvcore.testing.servers.process_tree import is_alive, members

_STARTS_A_NODE = """
import sys
from kvcore.testing.nodes import running_node

with running_node({"profile": "memory"}) as node:
    print(node.pid, flush=True)
    sys.stdin.read()
"""


def test_a_node_does_not_outlive_the_tests_that_are_killed() -> None:
    """A test run that is killed has no chance to end its nodes, and leaves none behind all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_A_NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        node, *_ = members(int(parent.stdout.readline()))
        assert is_alive(node)
        parent.kill()
    wait_until(lambda: not is_alive(node), within_s=30, what="the node ends")
