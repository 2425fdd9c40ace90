"""Several processes on one port, in the moments that are the worst for a signal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_FORKING = """
import os, signal, socket
from kvcore.errors import KvcoreError
from kvcore.http.processes import run_processes

os.register_at_fork({where}=lambda: os.kill(os.getpid(), signal.SIGTERM))
try:
    run_processes(socket.socket(), 2, lambda sibling: os.read(sibling.lifeline, 1), lambda: print("all are ready"))
except KvcoreError as error:
    print(error)
"""


def told_of_a_signal_at_each_fork(where: str) -> str:
    """Return what is said by a program that runs processes, when each fork is followed by SIGTERM in the parent, or the child."""
    program = [sys.executable, "-c", _FORKING.format(where=where)]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=30).stdout


def test_a_signal_in_the_midst_of_a_fork_ends_the_process_that_it_makes() -> None:
    """It is passed on to each, also to the one that its parent had not made a note of yet."""
    assert told_of_a_signal_at_each_fork("after_in_parent") == ""


def test_a_process_that_has_only_just_begun_is_ended_by_a_signal() -> None:
    """It does not take the signal for one to pass on, as the process does from which it was forked."""
    assert "has ended with -15 before it was ready" in told_of_a_signal_at_each_fork("after_in_child")


_WAITING = r"""
import os, socket
from kvcore.http.processes import run_processes

def run(sibling):
    (sibling.folder / str(sibling.number)).touch()
    os.write(1, f"{sibling.folder}\n".encode())
    os.read(sibling.lifeline, 1)

run_processes(socket.socket(), 2, run, lambda: None)
"""


def test_what_they_share_is_removed_when_who_has_started_them_is_killed() -> None:
    """Nobody else is left to do it."""
    with subprocess.Popen([sys.executable, "-c", _WAITING], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folders = {Path(parent.stdout.readline().rstrip()) for _ in range(2)}
        parent.kill()
        assert parent.stdout.read() == ""  # all have ended
    assert len(folders) == 1
    assert not any(map(Path.exists, folders))


_STOPPING = r"""
import os, signal, socket
from pathlib import Path
from kvcore.http.processes import run_processes

listener = socket.create_server(("127.0.0.1", 0))
first = Path("first")

def run(sibling):
    # Blocked, it can be waited for: a handler would not run if the signal came in the moment before a read that blocks.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if sibling.number == 0 and first.exists():
        os.kill(os.getppid(), signal.SIGTERM)
    elif sibling.number == 0:
        first.write_text(str(os.getpid()))
    sibling.is_ready()
    if signal.sigtimedwait([signal.SIGTERM], 30):
        socket.create_connection(listener.getsockname()).close()
        os.write(1, f"{sibling.all_stop()}\n".encode())

run_processes(listener, 2, run, lambda: os.kill(int(first.read_text()), signal.SIGTERM))
print("closed" if listener.fileno() < 0 else "open")
"""


def test_one_that_stops_alone_leaves_the_port_to_the_others(tmp_path: Path) -> None:
    """It can tell that from the end of all; then also who has started them lets go of the port."""
    program = [sys.executable, "-c", _STOPPING]
    said = subprocess.run(program, check=True, capture_output=True, text=True, timeout=30, cwd=tmp_path).stdout
    assert said.split() == ["False", "True", "True", "closed"]
