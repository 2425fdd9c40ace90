"""A server in a process of its own, which can be stopped, killed, paused and brought back."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kvcore.testing.servers.ports import HOST
from kvcore.testing.servers.process_tree import Member, freeze, is_alive, kill_frozen, members, thaw

__all__ = ("ServerError", "ServerProcess", "clean_environment", "group_of", "run_tool", "wait_until")

_LOG_TAIL_LINES = 30
_TOOL_ENDS_WITHIN_S = 60.0
_ORPHANS_END_WITHIN_S = 1.0


class ServerError(Exception):
    """A server did not do what was expected of it; the message has the end of its log."""


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Look at a condition again and again until it holds; one that raises OSError or ServerError does not hold yet.

    Raises:
        ServerError: it did not hold within `within_s` seconds; the message has `what`, and the last error.
    """
    ends_s = time.monotonic() + within_s
    while True:
        reason: Exception | None = None
        try:
            if condition():
                return
        except (OSError, ServerError) as error:
            reason = error
        if time.monotonic() > ends_s:
            raise ServerError(f"{what}: not within {within_s:g} s" + (f" ({reason})" if reason else ""))
        time.sleep(0.02)  # between two looks: a server tells nobody when it is ready


def clean_environment(folder: Path) -> dict[str, str]:
    """Return what a server needs of the environment; what a user has set for servers of his own is not among it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}


def run_tool(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, user: str | None = None) -> str:
    """Run a tool that comes with a server, in that folder and as that user if any, and return what it prints.

    Raises:
        ServerError: it has failed, or not ended within a minute; the message has what it said.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TOOL_ENDS_WITHIN_S,
            cwd=folder,
            env=environment,
            user=user,
            group=group_of(user),
            extra_groups=None if user is None else (),
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{name} did not end within {error.timeout:g} s") from error
    if done.returncode != 0:
        raise ServerError(f"{name}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def group_of(user: str | None) -> int | None:
    """Return the id of the user's own group; None for nobody in particular."""
    return None if user is None else pwd.getpwnam(user).pw_gid


class ServerProcess:
    """One server: a command, its folder, and its port on 127.0.0.1, which it keeps when it is started again.

    It runs in a session of its own, so that a terminal's Ctrl-C reaches only whoever has started it, who then ends it.
    `log` is the file with all that it says.

    Args:
        name: What messages call it; also the name of its log.
        command: The executable and its arguments. It must stay in the foreground, in the process that was started.
        folder: Where it runs and may write; made if it is not there.
        port: The port that it listens on.
        is_ready: Whether it answers, as for `wait_until`; must return within a second or two.
        environment: What is added to `clean_environment`.
        user: The name of the user to run as, if not the current one (only root can).
        stop_signal: What makes it end in good order.
        start_within_s: How long it may take until it is ready.
        stop_within_s: How long it may take to end in good order, before it is killed.
    """

    host = HOST

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        port: int,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        start_within_s: float = 60.0,
        stop_within_s: float = 20.0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._is_ready = is_ready
        self._environment = clean_environment(folder) | dict(environment or {})
        self._user = user
        self._stop_signal = stop_signal
        self._start_within_s = start_within_s
        self._stop_within_s = stop_within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[Member] = []

    def __repr__(self) -> str:
        return f"<{self.name} on {self.address}>"

    @property
    def address(self) -> str:
        """Host and port, such as 127.0.0.1:6379."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process that was started last, even if it has ended.

        Raises:
            ServerError: it was never started.
        """
        if self._process is None:
            raise ServerError(f"{self.name} was never started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there, be it ready, paused or neither."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_paused(self) -> bool:
        """Whether it was paused and not resumed."""
        return bool(self._frozen)

    @property
    def exit_code(self) -> int | None:
        """How the process that was started last has ended: negative, by that signal. None: it runs, or was never started."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Tell whether it answers as it should; as a condition for `wait_until`.

        Raises:
            OSError: it does not answer.
            ServerError: it answers that it cannot.
        """
        return self._is_ready()

    def start(self, *, wait: bool = True) -> None:
        """Start it; nothing happens if it runs. Returns when it is ready, or at once without `wait`.

        Raises:
            ServerError: it ended, or did not become ready in time. It is killed then.
        """
        if self.is_running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment,
                user=self._user,
                group=group_of(self._user),
                extra_groups=None if self._user is None else (),
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            ServerError: it ended, or did not become ready in time. It is killed then.
        """
        try:
            wait_until(self._ready_or_ended, within_s=self._start_within_s, what=f"{self.name} is ready")
            if not self.is_running:
                raise ServerError(f"{self.name} has ended instead of becoming ready")
        except ServerError as error:
            self.kill()
            raise ServerError(f"{error}\n{self.log_tail()}") from None
        except BaseException:  # such as Ctrl-C
            self.kill()
            raise

    def stop(self) -> None:
        """End it in good order, even if it is paused; kill it if that takes too long. Nothing happens if it does not run."""
        if self._process is None:
            return
        family = members(self._process.pid)
        if self.is_running:
            self._process.send_signal(self._stop_signal)
        self.resume()
        try:
            self._process.wait(self._stop_within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._bury(family)

    def kill(self) -> None:
        """End it, and all that it has started, as a power cut would. Nothing happens if it does not run."""
        if self._process is None or not self.is_running:
            return
        family = freeze(self._process.pid)
        kill_frozen(family)
        self._process.wait()
        self._frozen = []
        self._bury(family)

    def pause(self) -> None:
        """Make it stand still, and all that it has started: connections stay open, and nothing answers."""
        if self._process is not None and self.is_running:
            self._frozen = freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on after `pause`; nothing happens if it is not paused."""
        thaw(self._frozen)
        self._frozen = []

    def restart(self) -> None:
        """Stop it and start it again, with the same folder and port.

        Raises:
            ServerError: as `start`.
        """
        self.stop()
        self.start()

    def log_tail(self) -> str:
        """Return the last lines that it has said."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    def _ready_or_ended(self) -> bool:
        return not self.is_running or self._is_ready()

    def _bury(self, family: Sequence[Member]) -> None:
        """Wait until what it had started has ended as well, and help if that takes long."""
        ends_s = time.monotonic() + _ORPHANS_END_WITHIN_S
        while alive := [member for member in family if is_alive(member)]:
            if time.monotonic() > ends_s:
                kill_frozen(alive)
            time.sleep(0.005)  # between two looks: the processes are not all children of this one
