"""The processes of a topology by their names: how each is, and what may be done to them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from deploy.local.naming import chosen
from deploy.local.progress import Say
from deploy.local.topology import Topology
from kvcore.testing.servers import ServerError, ServerProcess

__all__ = ("Entry", "Roster", "state_of")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A process. `role`: "master" or "replica" for Redis, as the sentinels say, else "". `log`: the file with what it says."""

    name: str
    kind: str
    address: str
    pid: int | None
    state: str
    role: str
    log: str


def state_of(process: ServerProcess) -> str:
    """Return "running", "paused", "dead" (ended by SIGKILL), "exited <code>", or "not started"."""
    if process.is_running:
        return "paused" if process.is_paused else "running"
    if process.exit_code is None:
        return "not started"
    return "dead" if process.exit_code == -signal.SIGKILL else f"exited {process.exit_code}"


class Roster:
    """The processes of a topology, for several callers at once.

    Each command takes names of processes, and of kinds, such as `nodes`, and says one line for each step by `say`. A name that
    nothing has raises UnknownNameError.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._starting = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Start nothing any more, whatever is under way."""
        with self._starting:
            self._is_closed = True

    def states(self) -> dict[str, str]:
        """Return the state of each process by its name."""
        return {name: state_of(process) for name, process in self._topology.processes.items()}

    def entries(self) -> list[Entry]:
        """Return all processes, in the order of the start. Takes a second for each sentinel that does not answer."""
        master = self._master()
        return [
            Entry(
                name=process.name,
                kind=kind,
                address=process.address,
                pid=process.pid if process.is_running else None,
                state=state_of(process),
                role=_role(process, master) if kind == "redis" else "",
                log=str(self._log(process)),
            )
            for kind, processes in self._topology.kinds.items()
            for process in processes
        ]

    def kill(self, names: Sequence[str], say: Say) -> None:
        """End them as a power cut would. They stay dead until they are restarted."""
        self._each(ServerProcess.kill, names, say)

    def pause(self, names: Sequence[str], say: Say) -> None:
        """Let them stand still, with their connections open.

        Raises:
            ServerError: one does not run; none is paused then.
        """
        for process in self._named(names):
            if not process.is_running:
                raise ServerError(f"{process.name} is {state_of(process)}: restart it first")
        self._each(ServerProcess.pause, names, say)

    def resume(self, names: Sequence[str], say: Say) -> None:
        """Let them go on."""
        self._each(ServerProcess.resume, names, say)

    def restart(self, names: Sequence[str], say: Say) -> None:
        """Start those that are dead, at once; then stop and start the others one after the other, each when the one before is ready.

        Raises:
            ServerError: one did not become ready; those after it are left as they are.
        """
        processes = self._named(names)
        dead = [process for process in processes if not process.is_running]
        for process in dead:
            say(f"{process.name} starts")
            self._start(process)
        for process in dead:
            self._await(process, say)
        for process in processes:
            if process not in dead:
                say(f"{process.name} stops")
                process.stop()
                self._start(process)
                self._await(process, say)

    def _named(self, names: Sequence[str]) -> list[ServerProcess]:
        kinds = {kind: [process.name for process in processes] for kind, processes in self._topology.kinds.items()}
        return [self._topology.processes[name] for name in chosen(kinds, names)]

    def _each(self, act: Callable[[ServerProcess], None], names: Sequence[str], say: Say) -> None:
        for process in self._named(names):
            act(process)
            say(f"{process.name} is {state_of(process)}")

    def _start(self, process: ServerProcess) -> None:
        with self._starting:
            if self._is_closed:
                raise ServerError("everything is being ended")
            process.start(wait=False)

    def _await(self, process: ServerProcess, say: Say) -> None:
        """Wait until it is ready and, where all servers of its kind run, until these work together."""
        process.wait_until_ready()
        topology = self._topology
        for group in (topology.redis, topology.rabbit, topology.database):
            if process in group.processes and all(one.is_running and not one.is_paused for one in group.processes):
                group.wait_until_whole()
        say(f"{process.name} is ready, process {process.pid}")

    def _log(self, process: ServerProcess) -> Path:
        proxy = self._topology.proxy
        return proxy.error_log if process is proxy.process else process.log

    def _master(self) -> ServerProcess | None:
        with suppress(ServerError):
            return self._topology.redis.current_master()
        return None


def _role(redis: ServerProcess, master: ServerProcess | None) -> str:
    if master is None or not redis.is_running:
        return ""
    return "master" if redis is master else "replica"
