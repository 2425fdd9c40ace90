"""What stands in a line, and that it stays one line whatever it is about."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.logs import (
    JsonLines,
    LineHandler,
    Lines,
    TextLines,
    about,
    announce,
    configure,
    hashed,
    line_handler,
    name_node,
)
from kvcore.settings import LogSettings
from kvcore.testing.nodes import running_node
from kvcore.tracing import ORIGIN, Origin

TRACEPARENT = f"00-{'a1' * 16}-{'b2' * 8}-01"
OTHER = f"00-{'c3' * 16}-{'d4' * 8}-01"

# Everything that Python calls a text, lone surrogates included, and above all what ends lines, turns text around or means
# something to a terminal.
nasty = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\n\r\x00\x1b\x7f\x9b\x85\u2028\u202e\ud800\"'\\="))
)


def record(message: str = "said", *arguments: object, **attributes: Any) -> logging.LogRecord:
    """Return a record of the logger kvcore.test."""
    made = logging.LogRecord("kvcore.test", logging.INFO, __file__, 1, message, arguments, None)
    vars(made).update(attributes)
    return made


def raised(error: Exception) -> Any:
    """Return what a record has of an exception that was caught."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


@contextmanager
def origin(*traceparents: str, request_id: str = "") -> Iterator[None]:
    """Do what follows for a request."""
    token = ORIGIN.set(Origin(request_id, traceparents))
    try:
        yield
    finally:
        ORIGIN.reset(token)


class Pipe:
    """A pipe whose reading end is a test."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        fcntl.fcntl(self.writes, fcntl.F_SETPIPE_SZ, 16_384)
        os.set_blocking(self.reads, False)

    def read(self) -> bytes:
        """Return what is in it."""
        try:
            return os.read(self.reads, 1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a small pipe."""
    made = Pipe()
    yield made
    for end in (made.reads, made.writes):
        with suppress(OSError):  # the test has closed it
            os.close(end)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Give the root logger, and put it back into its state."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    logger.handlers.clear()
    yield logger
    logging.captureWarnings(capture=False)
    logger.handlers[:] = handlers
    logger.setLevel(level)


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(nasty, nasty, nasty)
def test_a_json_line_is_one_line_and_holds_what_was_said(message: str, key: str, client: str) -> None:
    """Whatever the message and its members are, the line is one of printable text, is JSON, and gives the same back."""
    lines = JsonLines(plain_keys=True)
    line = lines.format(record("%s", message, about=about(key=key, client=client)["about"]))
    assert line.isprintable()
    read = json.loads(line)

    def shown(text: str) -> str:
        return text.encode("utf-8", "backslashreplace").decode()

    assert read["message"] == shown(message)
    assert read.get("key", "") == shown(key)
    assert read.get("client", "") == shown(client)


def test_a_json_line_has_its_members_in_order() -> None:
    """Time in UTC with milliseconds, level, logger and message come first; then the node, the request, the trace and the key."""
    lines = JsonLines()
    lines.node = "b3d0e9b2"
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC).timestamp()
    with origin(TRACEPARENT, request_id="r-1"):
        line = lines.format(record("%d of %s", 3, "them", created=moment, about=about(key="k", status=200)["about"]))
    assert list(json.loads(line).items()) == [
        ("time", "2026-01-02T03:04:05.678Z"),
        ("level", "info"),
        ("logger", "kvcore.test"),
        ("message", "3 of them"),
        ("node", "b3d0e9b2"),
        ("request_id", "r-1"),
        ("trace_id", "a1" * 16),
        ("key", hashed("k")),
        ("status", 200),
    ]


def test_what_there_is_not_is_left_out() -> None:
    """A line that belongs to no request has no ids, and no empty members."""
    assert set(json.loads(JsonLines().format(record()))) == {"time", "level", "logger", "message"}


def test_an_exception_is_one_member() -> None:
    """The traceback, with its causes, is a text in `exception`."""
    line = JsonLines().format(record("failed", exc_info=raised(ValueError("two\nlines"))))
    assert "\n" not in line
    assert re.match(r"Traceback [^ ]+ .*\n.*ValueError: two\nlines$", json.loads(line)["exception"], re.DOTALL)


@pytest.mark.parametrize("arguments", [("no number",), (), (1, 2), (object(),)], ids=str)
@pytest.mark.parametrize("lines", [JsonLines(), TextLines()], ids=["json", "text"])
def test_a_line_is_not_lost_for_its_arguments(lines: Lines, arguments: tuple[object, ...]) -> None:
    """A message whose arguments do not fit is written all the same, without them."""
    made = record("it took %d s", *arguments)
    made.args = arguments or (None,)
    assert "it took %d s (its arguments do not fit: TypeError)" in lines.format(made)


# --- text -------------------------------------------------------------------------------------------------------------


@given(nasty, nasty)
def test_a_text_line_is_one_line_and_does_nothing_to_a_terminal(message: str, key: str) -> None:
    """Whatever the message and its members are, the line is one of printable text."""
    line = TextLines(plain_keys=True).format(record("%s", message, about=about(key=key)["about"]))
    assert line.isprintable()


@pytest.mark.parametrize(
    "key", ["a status=500", 'a" status="500', "a\\", "a\n2026-01-01T00:00:00.000Z ERROR x: y", "ü"]
)
def test_nobody_forges_members_of_a_text_line(key: str) -> None:
    """A value whose end could not be told stands in quotation marks, with those in it escaped."""
    line = TextLines(plain_keys=True).format(record(about=about(key=key)["about"]))
    found = re.fullmatch(r'[^ ]+ INFO    kvcore\.test: said key="((?:[^"\\]|\\.)*)"', line)
    assert found is not None, line


def test_lines_of_a_traceback_cannot_be_taken_for_others() -> None:
    """In text a traceback stands on lines of its own, all of them indented and none with control characters."""
    first, *rest = (
        TextLines().format(record("failed", exc_info=raised(ValueError("\x1b[2J\r\nINFO x: y\x0bz")))).splitlines()
    )
    assert first.endswith("INFO    kvcore.test: failed")
    assert len(rest) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_an_announcement_is_shown_as_it_stands() -> None:
    """In text, what a process says of its start has neither time nor level before it."""
    made = record("%s", "kvcore is ready")
    made.name = "kvcore.announcements"
    assert TextLines(coloured=True).format(made) == "kvcore is ready"


# --- ids and keys -----------------------------------------------------------------------------------------------------


def test_keys_are_hashed_unless_they_shall_be_plain() -> None:
    """A key is named by 16 hex digits of its SHA-256, or stands there as it is."""
    made = record(about=about(key="customer:7")["about"])
    assert hashed("foo") == "2c26b46b68ffc68f"
    assert json.loads(JsonLines().format(made))["key"] == hashed("customer:7")
    assert json.loads(JsonLines(plain_keys=True).format(made))["key"] == "customer:7"
    assert "customer" not in TextLines().format(made)


def test_a_line_about_one_write_has_the_trace_of_that_write() -> None:
    """The trace that is given counts, and not that of the work in hand; a write without one has none."""
    with origin(OTHER):
        assert trace_of(about(traceparent=TRACEPARENT)) == "a1" * 16
        assert trace_of(about(traceparent="")) is None
        assert trace_of(about()) == "c3" * 16


def test_a_line_about_many_traces_has_none() -> None:
    """What is done for several requests at once is not told of the first of them alone."""
    with origin(TRACEPARENT, OTHER):
        assert trace_of(about()) is None


def trace_of(extra: dict[str, Any]) -> str | None:
    """Return the trace id of a line."""
    found: str | None = json.loads(JsonLines().format(record(**extra))).get("trace_id")
    return found


# --- which form -------------------------------------------------------------------------------------------------------


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    """Give a terminal to write to, and its other side."""
    outside, inside = pty.openpty()
    with os.fdopen(inside, "w") as stream:
        yield stream, outside
    os.close(outside)


@pytest.mark.parametrize(
    ("settings", "environment", "is_json", "is_coloured"),
    [
        ({"format": "auto"}, {}, False, True),
        ({"format": "text"}, {}, False, True),
        ({"format": "json"}, {}, True, False),
        ({"format": "auto"}, {"NO_COLOR": "1"}, False, False),
        ({"format": "auto"}, {"NO_COLOR": ""}, False, True),
        ({"format": "auto"}, {"TERM": "dumb"}, False, False),
    ],
    ids=str,
)
def test_a_terminal_gets_text(
    settings: dict[str, Any], environment: dict[str, str], is_json: bool, is_coloured: bool
) -> None:
    """On a terminal `auto` is text, in colour unless NO_COLOR or TERM say otherwise."""
    with terminal() as (stream, outside):
        handler = line_handler(LogSettings(**settings), stream, environment)
        handler.handle(record(levelno=logging.ERROR, levelname="ERROR"))
        said = os.read(outside, 10_000).decode()
    assert said.startswith("{") is is_json
    assert ("\x1b[31mERROR  \x1b[0m" in said) is is_coloured


@pytest.mark.parametrize(("form", "is_json"), [("auto", True), ("json", True), ("text", False)])
def test_a_file_or_pipe_gets_json_unless_it_shall_be_text(pipe: Pipe, form: Any, is_json: bool) -> None:
    """Where nobody looks on, `auto` is JSON, and text has no colours."""
    with os.fdopen(pipe.writes, "w", closefd=False) as stream:
        line_handler(LogSettings(format=form), stream, {}).handle(record(levelname="ERROR"))
    said = pipe.read().decode()
    assert said.startswith("{") is is_json
    assert "\x1b" not in said


def test_the_level_is_that_of_kvcore_and_libraries_keep_what_they_send(root: logging.Logger, pipe: Pipe) -> None:
    """`debug` shows the debug lines of kvcore and its plugins, and of libraries no more than `info` does."""
    with os.fdopen(pipe.writes, "w", closefd=False) as stream:
        configure(LogSettings(format="json", level="debug"), stream)
        for name in ("kvcore.worker", "kvcore_cache_redis.cache", "aiormq.connection"):
            logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger("aiormq.connection").info("info of aiormq")
    said = [json.loads(line)["message"] for line in pipe.read().splitlines()]
    assert said == ["debug of kvcore.worker", "debug of kvcore_cache_redis.cache", "info of aiormq"]


def test_announcements_are_made_at_every_level(root: logging.Logger, pipe: Pipe) -> None:
    """That a node is ready is said even where only errors are worth a line; and every line names the node."""
    with os.fdopen(pipe.writes, "w", closefd=False) as stream:
        configure(LogSettings(format="json", level="error"), stream)
        name_node("b3d0e9b2")
        logging.getLogger("kvcore").warning("not worth it")
        announce("kvcore is ready, 100 %s")
    (line,) = map(json.loads, pipe.read().splitlines())
    assert (line["message"], line["node"]) == ("kvcore is ready, 100 %s", "b3d0e9b2")


# --- who does not read ------------------------------------------------------------------------------------------------


@pytest.fixture
def write(pipe: Pipe) -> Callable[[str], None]:
    """Give a function that writes a line to the pipe."""
    handler = LineHandler(pipe.writes)

    def write(message: str) -> None:
        handler.handle(record("%s", message))

    return write


def test_a_line_is_there_when_it_was_written(pipe: Pipe, write: Callable[[str], None]) -> None:
    """Nothing is kept back: each line can be read as soon as it was logged."""
    for number in range(3):
        write(f"line {number}")
        assert pipe.read() == f"line {number}\n".encode()


def test_a_full_pipe_costs_lines_and_tells_how_many(pipe: Pipe, write: Callable[[str], None]) -> None:
    """While nobody reads, lines are lost and nothing hangs; who reads again learns how many, and no line is torn."""
    for number in range(100):
        write(f"{number:02}" + "x" * 998)
    whole = pipe.read().decode().splitlines()
    assert [line[:2] for line in whole] == [f"{number:02}" for number in range(len(whole))]
    assert all(len(line) == 1000 for line in whole)
    write("again")
    lost, last = pipe.read().decode().splitlines()
    assert lost == f"{100 - len(whole)} lines were lost before this one: whoever reads them was too slow"
    assert last == "again"


def test_what_follows_a_torn_line_is_whole(pipe: Pipe, write: Callable[[str], None]) -> None:
    """A line that is larger than the pipe is torn when nobody reads; the next one begins on a line of its own."""
    write("x" * 100_000)
    torn = pipe.read()
    assert b"\n" not in torn
    write("whole")
    assert pipe.read().decode().splitlines() == [
        "",
        "1 lines were lost before this one: whoever reads them was too slow",
        "whole",
    ]


def test_a_reader_who_is_gone_harms_nobody(pipe: Pipe, write: Callable[[str], None]) -> None:
    """Writing to a pipe that nobody will ever read again raises nothing."""
    os.close(pipe.reads)
    write("to nobody")


# --- a whole process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_last_words_of_a_process_are_in_its_form_too(form: str) -> None:
    """A node that cannot start says why in one line: of JSON where its log is that, else as every command does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "kvcore.cli", "serve", "--profile", "memory", "--set", f"log.format={form}"]
        port = str(taken.getsockname()[1])
        done = subprocess.run([*command, "--port", port], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    if form == "json":
        said = json.loads(line)
        assert (said["level"], said["logger"]) == ("critical", "kvcore.cli")
        line = f"kvctl: {said['message']}"
    assert line.startswith("kvctl: http.port: cannot listen at 127.0.0.1:")


def test_every_line_of_a_node_is_json_and_names_it() -> None:
    """Where the log is JSON, what a node says of its start and its end is too, with the words that others wait for."""
    with running_node({"profile": "memory", "log.format": "json", "log.level": "error"}) as node:
        tag = httpx.get(f"{node.url}/health").json()["node"]
        assert node.stop() == 0
    said = [json.loads(line) for line in node.lines]
    assert {line["node"] for line in said} == {tag}
    ends = ["kvcore is ready", "kvcore is stopping", "kvcore has stopped"]
    assert [line["message"].partition(", process ")[0] for line in said[-3:]] == ends
