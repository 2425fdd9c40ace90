"""The example that loads the Unicode character database, on real servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvcore.testing.nodes import running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers

EXAMPLE = Path(__file__).parents[2] / "examples" / "unicode_names.py"


@pytest.mark.timeout(900)
def test_the_whole_unicode_database_on_real_servers(
    redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database
) -> None:
    """Every named character comes back as it was written, through a cache that holds a fraction of them, and a deleted block is gone."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="unicode")
    with running_worker(settings), running_node(settings) as node:
        command = [sys.executable, str(EXAMPLE), "--url", node.url]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=880)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " 0 differences" in ended.stdout
