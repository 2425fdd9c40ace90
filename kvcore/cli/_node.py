"""The commands that run until they are stopped: `serve` and `worker`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._output import ExitCode
from kvcore.cli._settings import ConfigFile, Overrides, Profile, read
from kvcore.errors import KvcoreError, SettingsError

if TYPE_CHECKING:
    from kvcore.config import Resolved
    from kvcore.plugins import Plugins

__all__ = ("serve", "worker")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on: http.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one: http.port.")] = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that serve the port together: http.processes.")
    ] = None,
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Drain the queue in this process too: worker.in_node.")
    ] = False,
) -> None:
    """Run a node: the HTTP API over cache, queue and store.

    Runs in the foreground. SIGTERM and Ctrl-C end it: requests in flight are answered first.

    \b
    kvctl serve
    kvctl serve --profile memory --port 9000
    kvctl serve --config /etc/kvcore.toml --set cache.ttl_s=60
    """
    options = {
        "http.host": host,
        "http.port": port,
        "http.processes": processes,
        "worker.in_node": "true" if with_worker else None,
    }
    resolved, plugins = read(profile, config, overrides, options)
    with logging_to_stderr(resolved):
        from kvcore.http.server import run_node

        run_node(resolved, plugins)


def worker(
    host: Annotated[str | None, typer.Option(help="Address of health and metrics: worker.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of health and metrics, 0 for a free one: worker.port.")] = None,
    profile: Profile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run a worker: drain the queue into the store, and keep the cache in step.

    For profiles whose queue, cache and store are servers of their own. Start as many workers as are needed; each answers
    /health and /metrics on a port of its own. SIGTERM and Ctrl-C end it: what it has in hand is finished first, and what
    it cannot finish is delivered again.

    \b
    kvctl worker --profile production
    kvctl worker --config /etc/kvcore.toml --port 0 --set worker.batch=500
    """
    resolved, plugins = read(profile, config, overrides, {"worker.host": host, "worker.port": port})
    refuse_without_shared_queue(resolved, plugins)
    with logging_to_stderr(resolved):
        from kvcore.http.server import run_worker

        run_worker(resolved, plugins)


def refuse_without_shared_queue(resolved: Resolved, plugins: Plugins) -> None:
    """Refuse to run a worker that could never get anything to do.

    Raises:
        SettingsError: there is no queue, or none that other processes publish to.
    """
    from kvcore.backends import Ability
    from kvcore.settings import NO_QUEUE

    name = resolved.settings.queue.backend
    where = f"queue.backend = {name!r} ({resolved.sources.get('queue.backend', 'default')})"
    if name == NO_QUEUE:
        raise SettingsError(f"{where}: there is no queue to drain, the node writes to the store itself; run only nodes")
    if Ability.SHARED not in plugins.choose("queue", name).abilities:
        raise SettingsError(
            f"{where}: this queue lives inside one process and no other can drain it;"
            " run the worker in the node: kvctl serve --with-worker"
        )


@contextmanager
def logging_to_stderr(resolved: Resolved) -> Iterator[None]:
    """Let a process that runs until it is stopped say what it has to say as `[log]` wants it; its last words too, where that is JSON."""
    import logging

    from kvcore import logs

    logs.configure(resolved.settings.log)
    try:
        yield
    except Exception as error:
        if not logs.speaks_json():
            raise
        fault = None if isinstance(error, KvcoreError) else error
        logging.getLogger("kvcore.cli").critical("%s", error, exc_info=fault)
        raise typer.Exit(ExitCode.FAILED) from None
