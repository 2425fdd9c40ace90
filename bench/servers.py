"""The servers that are measured: processes of their own on free ports of 127.0.0.1, ended by their process id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.client import HOST
from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.testing.nodes import running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import NginxProxy, RabbitCluster, RedisServers, database_class

__all__ = ("Server", "bare_asgi", "embedded_node", "production_node", "production_servers", "proxied", "rss_mb")

_REPOSITORY = Path(__file__).parents[1]
_START_LIMIT_S = 30.0


class Server(NamedTuple):
    """A server that is ready. `ready_s`: seconds from the start of its process until it said so."""

    pid: int
    port: int
    ready_s: float


@contextmanager
def embedded_node(folder: Path) -> Iterator[Server]:
    """Run a node on the embedded profile with its data in `folder`, which may hold data already.

    Raises:
        RuntimeError: it does not start; the message ends with what it printed.
    """
    began = time.perf_counter()
    with running_node({"profile": "embedded", "store.sqlite.path": str(folder / "kvcore.db")}) as node:
        yield Server(node.pid, node.port, time.perf_counter() - began)


@contextmanager
def production_servers() -> Iterator[dict[str, str]]:
    """Run private Redis, RabbitMQ and database servers, and give the settings for nodes and workers on them.

    Raises:
        MissingServerError: an executable is not installed.
    """
    with RedisServers() as redis, RabbitCluster() as rabbit, database_class()() as database:
        print(f"servers: {redis.version}, {rabbit.version}, {database.version}", file=sys.stderr, flush=True)
        yield production_settings(redis, rabbit, database, name="bench") | {"cache.redis.max_keys": "1000000"}


@contextmanager
def production_node(settings: Mapping[str, str]) -> Iterator[Server]:
    """Run a node and a worker on servers that run already."""
    began = time.perf_counter()
    with running_worker(settings), running_node(settings) as node:
        yield Server(node.pid, node.port, time.perf_counter() - began)


@contextmanager
def proxied(port: int) -> Iterator[int]:
    """Run NGINX, with two workers and its access log, before the node that listens at this port, and give the port of NGINX.

    Raises:
        MissingServerError: NGINX is not installed.
    """
    listen = _free_port()
    proxy = Proxy(
        nodes=(f"{HOST}:{port}",),
        listen=(f"{HOST}:{listen}",),
        access_log="access.log",
        maintenance_file="maintenance",
    )
    with NginxProxy(render(proxy), port=listen):
        yield listen


@contextmanager
def bare_asgi(answers: Mapping[str, tuple[int, str, int]]) -> Iterator[Server]:
    """Run `bench.bare` with these answers under uvicorn, set as a node sets it.

    Raises:
        RuntimeError: it does not start.
    """
    port = _free_port()
    environment = os.environ | {"BARE_ANSWERS": json.dumps(answers)}
    options = {"--host": HOST, "--port": str(port), "--loop": "uvloop", "--http": "httptools", "--ws": "none"}
    options |= {"--interface": "asgi3", "--lifespan": "off", "--log-level": "warning"}
    switches = ["--factory", "--no-access-log", "--no-proxy-headers", "--no-server-header"]
    command = [sys.executable, "-m", "uvicorn", "bench.bare:application", *switches]
    for option in options.items():
        command += option
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=_REPOSITORY, stdin=subprocess.DEVNULL)
    try:
        while not _listens(port):
            if process.poll() is not None or time.perf_counter() - began > _START_LIMIT_S:
                raise RuntimeError("the bare ASGI application did not start; see above")
            time.sleep(0.01)  # between two looks: a port tells nobody when it opens
        yield Server(process.pid, port, time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()


def rss_mb(pid: int) -> float:
    """Return the memory that a process has in RAM, in MB (10^6 bytes). Linux only."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
