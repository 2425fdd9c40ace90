"""The parts of `deploy.local` that need no server."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.control import NotRunningError, RefusedError, Request, ask, serving
from deploy.local.following import LogFollower, labelled
from deploy.local.naming import UnknownNameError, chosen
from deploy.local.place import PID_FILE, PlaceError, claimed, is_in_use, opened
from deploy.local.progress import Say

KINDS = {"nodes": ["node-1", "node-2"], "workers": ["worker-1"], "nginx": ["nginx"]}

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a place for a topology, which is not there yet, and which other users could reach; its path is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="kvcore-place-") as above:
        Path(above).chmod(0o711)
        yield Path(above).resolve() / ("topology-" * 12)


def leave(folder: Path, *, pid: int) -> None:
    """Make a folder such as a supervisor with that process id leaves when it is killed."""
    (folder / PID_FILE).parent.mkdir(parents=True)
    (folder / PID_FILE).write_text(f"{pid}\n")


@pytest.fixture
def sleeping(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that works in the folder, with what a supervisor that was killed leaves there."""
    leave(folder, pid=4_194_305)  # more than any process has
    with subprocess.Popen([sys.executable, "-c", SLEEPS], cwd=folder) as process:
        yield process
        process.kill()


class TestNames:
    """What names on the command line mean."""

    def test_a_kind_means_all_of_it_and_each_is_meant_once(self) -> None:
        """Names and kinds can be mixed, and keep their order."""
        assert chosen(KINDS, ["worker-1", "nodes", "node-2", "nginx"]) == ["worker-1", "node-1", "node-2", "nginx"]

    def test_an_unknown_name_is_refused_with_those_that_there_are(self) -> None:
        """All unknown names are told at once."""
        expected = (
            "there is no node-9, no x; there is node-1, node-2, worker-1, nginx, and the kinds nodes, workers, nginx"
        )
        with pytest.raises(UnknownNameError, match=expected):
            chosen(KINDS, ["node-9", "node-1", "x"])


class TestLogs:
    """Logs of several processes as one."""

    def test_a_line_is_shown_when_it_has_come_to_its_end(self, tmp_path: Path) -> None:
        """What is added shows at the next look, each line once, and files may come later."""
        follower = LogFollower({"a": tmp_path / "a.log", "longer": tmp_path / "b.log"}, coloured=False)
        assert list(follower.lines()) == []
        (tmp_path / "a.log").write_text("one\n\ntw")
        assert list(follower.lines()) == ["a      | one", "a      | "]
        (tmp_path / "a.log").write_text("one\n\ntwo\n")
        (tmp_path / "b.log").write_bytes(b"\xff\n")
        assert list(follower.lines()) == ["a      | two", "longer | \ufffd"]
        assert list(follower.lines()) == []

    def test_what_was_there_before_can_be_left_out(self, tmp_path: Path) -> None:
        """After `skip` only what is new is shown."""
        (tmp_path / "a.log").write_text("old\n")
        follower = LogFollower({"a": tmp_path / "a.log"}, coloured=False)
        follower.skip()
        with (tmp_path / "a.log").open("a") as log:
            log.write("new\n")
        assert list(follower.lines()) == ["a | new"]

    def test_only_the_name_has_a_colour(self) -> None:
        """What a log has of escape sequences does nothing to the terminal."""
        line = "\x1b[31mred\x1b[0m \x07bell\ttab"
        assert labelled("a", line, width=3, colour=0) == "\x1b[36ma   |\x1b[0m red bell\ttab"
        assert labelled("a", line, width=1) == "a | red bell\ttab"


class TestPlace:
    """The folder in which a topology is."""

    def test_a_claimed_folder_is_ones_own_until_it_is_left(self, folder: Path) -> None:
        """It is made, nobody else can claim it meanwhile, and nothing is left of it."""
        with claimed(folder), serving(folder, lambda request, say: None):
            assert is_in_use(folder)
            with pytest.raises(PlaceError, match=rf"one runs already in .*, process {os.getpid()}"), claimed(folder):
                pytest.fail("it is in use")
        assert not is_in_use(folder)
        assert not folder.exists()

    def test_what_a_crash_has_left_is_ended_and_removed(self, folder: Path, sleeping: subprocess.Popen[bytes]) -> None:
        """Processes that work in the folder are killed, and whoever claims it finds it empty."""
        (folder / "redis").mkdir()
        with claimed(folder):
            assert list(folder.iterdir()) == []
            assert sleeping.wait(30) == -9

    def test_who_comes_while_it_is_being_cleared_waits_for_that(self, folder: Path) -> None:
        """A lock that is held without a living supervisor is that of what removes its remains."""
        leave(folder, pid=4_194_305)
        moved_in = threading.Event()

        def move_in() -> None:
            with claimed(folder):
                moved_in.set()

        with opened(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            thread = threading.Thread(target=move_in)
            thread.start()
            assert not moved_in.wait(1)  # in which it would have moved in, if it could
        thread.join(30)
        assert moved_in.is_set()

    def test_a_folder_with_something_else_in_it_is_not_touched(self, folder: Path) -> None:
        """Nobody loses files by a wrong --folder."""
        folder.mkdir()
        (folder / "thesis.txt").write_text("important")
        with pytest.raises(PlaceError, match="has something else in it"), claimed(folder):
            pytest.fail("it is not empty")
        assert (folder / "thesis.txt").read_text() == "important"

    def test_a_link_is_refused(self, folder: Path, tmp_path: Path) -> None:
        """In a folder that everybody may write to, somebody else may have put it there."""
        folder.symlink_to(tmp_path)
        with pytest.raises(PlaceError, match="is no folder, or a link to one"), claimed(folder):
            pytest.fail("it is a link")

    def test_a_folder_of_somebody_else_is_refused(self, folder: Path) -> None:
        """As root too."""
        theirs = Path("/usr")
        if os.geteuid() == 0:
            theirs = folder
            folder.mkdir()
            os.chown(folder, 65534, -1)
        with pytest.raises(PlaceError, match="belongs to somebody else"), claimed(theirs):
            pytest.fail("it is somebody else's")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has PostgreSQL run as another user")
    def test_a_place_that_postgresql_could_not_reach_is_refused(self, folder: Path) -> None:
        """A folder that is closed to others is not found out half a minute later."""
        folder.parent.chmod(0o700)
        with pytest.raises(PlaceError, match="closed to other users"), claimed(folder):
            pytest.fail("it is out of reach")

    @pytest.mark.parametrize(
        ("name", "reason"), [("not/there", "is not there"), ("a name", "has characters other than")]
    )
    def test_a_place_that_cannot_be_used_is_refused(self, folder: Path, name: str, reason: str) -> None:
        """The reason is told, and nothing is made."""
        with pytest.raises(PlaceError, match=reason), claimed(folder.parent / name):
            pytest.fail("it cannot be used")
        assert list(folder.parent.iterdir()) == []


class TestControl:
    """What commands and the supervisor say to each other."""

    def test_a_request_is_answered_with_what_is_said_and_a_result(self, folder: Path) -> None:
        """Words of progress come one by one, the result at the end, also where the path of the folder is long."""

        def answer(request: Request, say: Say) -> Any:
            say(f"{request.do} {request.names[0]}")
            return list(request.names)

        folder.mkdir()
        said: list[str] = []
        with serving(folder, answer):
            assert ask(folder, Request("kill", ("a", "b")), said.append) == ["a", "b"]
        assert said == ["kill a"]

    def test_what_fails_is_told_to_whoever_has_asked(self, folder: Path) -> None:
        """The supervisor goes on."""

        def answer(request: Request, say: Say) -> Any:
            if request.do == "pause":
                raise UnknownNameError("there is no x")
            return "fine"

        folder.mkdir()
        with serving(folder, answer):
            with pytest.raises(RefusedError, match="there is no x"):
                ask(folder, Request("pause", ("x",)))
            assert ask(folder, Request("status")) == "fine"

    def test_only_its_user_can_reach_the_socket(self, folder: Path) -> None:
        """The folder is open to other users, since servers run as such; the socket is not."""
        folder.mkdir(mode=0o711)
        with serving(folder, lambda request, say: None):
            assert (folder / "control").stat().st_mode & 0o777 == 0o700

    def test_nobody_answers_where_nothing_runs(self, folder: Path) -> None:
        """Neither where there is no folder nor where there is only what a crash has left."""
        with pytest.raises(NotRunningError, match="nothing runs in"):
            ask(folder, Request("status"))
        folder.mkdir()
        with serving(folder, lambda request, say: None):
            pass
        with pytest.raises(NotRunningError, match="nothing runs in"):
            ask(folder, Request("status"))
