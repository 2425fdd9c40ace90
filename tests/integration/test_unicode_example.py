"""The example that loads the Unicode character database, run as a reader would run it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from kvcore.client import Client
from kvcore.testing.nodes import running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore.testing.servers.process import wait_until

EVERY = 1 if "FAULTS_LONG" in os.environ else 50
"""Of the listed keys, one in so many is read and deleted in both forms of the API."""
CONNECTIONS = 8
BLOCK = range(0x13000, 0x13430)
EXAMPLE = Path(__file__).parents[2] / "examples" / "unicode_names.py"


@pytest.fixture
def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def count_named(code_points: range) -> int:
    """Count the characters with a name, which are more with every version of Unicode."""
    return sum(1 for code_point in code_points if unicodedata.name(chr(code_point), None))


def run_example(url: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, str(EXAMPLE), "--url", url]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=880)


def listed(url: str) -> list[str]:
    """Return the keys of all characters, as they are listed."""
    with Client(url) as client:
        return [line.key for line in client.keys("char/")]


def left() -> list[str]:
    """Return the keys of all characters with a name but those of the deleted block, in byte order."""
    names = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.name(chr(code), None) and code not in BLOCK)
    return sorted((f"char/{name}" for name in names), key=str.encode)


def check_both_forms(url: str, keys: list[str]) -> None:
    """Each key reads the same in both forms, is deleted in one of them by turns, and is gone in both."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(partial(check_some, url), (keys[start::CONNECTIONS] for start in range(CONNECTIONS))))


def check_some(url: str, keys: list[str]) -> None:
    """Do so on a connection of its own."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as plain:

        def ask(method: str, target: str) -> tuple[int, bytes]:
            plain.request(method, target)
            answer = plain.getresponse()
            return answer.status, answer.read()

        for number, key in enumerate(keys):
            quoted = quote(key, safe="")
            forms = f"/kv/{quoted}?", f"/kv?key={quoted}&"
            (raw, value), (enveloped, answer) = (ask("GET", form[:-1]) for form in forms)
            assert (raw, enveloped, json.loads(answer)["data"]["value"]) == (200, 200, json.loads(value)), ascii(key)
            assert ask("DELETE", forms[number % 2] + "ack=stored")[0] == 200, ascii(key)
            assert [ask("GET", form[:-1])[0] for form in forms] == [404, 404], ascii(key)


@pytest.mark.timeout(900)
def test_the_whole_unicode_database_is_written_and_read_back(tmp_path: Path) -> None:
    """Every named character comes back as it was written, is listed, and can be read and deleted in both forms; a deleted block is gone."""
    named, block = count_named(range(sys.maxunicode + 1)), count_named(BLOCK)

    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node:
        ended = run_example(node.url)
        hieroglyph = httpx.get(f"{node.url}/kv", params={"key": "char/\U00013000"})
        cherokee = httpx.get(f"{node.url}/kv", params={"key": "char/\u13a0"})
        keys = listed(node.url)
        assert keys == left()
        check_both_forms(node.url, keys[::EVERY])

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{named:,} characters, {block:,} of them deleted again, 0 differences" in ended.stdout
    assert hieroglyph.status_code == 404
    assert cherokee.json()["data"]["value"]["name"] == "CHEROKEE LETTER A"


def test_without_a_node_the_example_fails_in_one_line(free_port: int) -> None:
    """Where nothing listens, the program ends with 1 and says so in one line."""
    ended = run_example(f"http://127.0.0.1:{free_port}")

    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot go on: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.timeout(900)
def test_the_whole_unicode_database_on_real_servers(
    redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database
) -> None:
    """Every named character comes back as it was written, through a cache that holds a fraction of them, and a deleted block is gone."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="unicode")
    with running_worker(settings), running_node(settings) as node:
        ended = run_example(node.url)
        # The listing is the store's: the worker may have some writes in hand.
        wait_until(lambda: listed(node.url) == left(), within_s=60, what="the listing has every character")
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " 0 differences" in ended.stdout
