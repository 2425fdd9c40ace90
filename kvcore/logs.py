"""What a process says on stderr: one JSON object a line for machines, or lines for people.

Whatever a line is about, keys and header fields of strangers included, it stays one line, and nothing in it does anything to
a terminal. Keys are named by a digest, unless `log.keys` says otherwise. The ids of the request and of the trace are those
of `ORIGIN` at the moment of logging, so whoever logs need not have them in hand.

Lines are written where they are made, and nothing is kept back: what was logged before a crash is there. The price is that
whoever reads them could make the process wait, when a pipe is full. That is bounded: a reader who takes nothing for
`_PATIENCE_MS` costs lines, which are counted, and not requests. There is no thread, which a fork would lose.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from kvcore.settings import LogSettings
from kvcore.tracing import ORIGIN, trace_id_of

__all__ = (
    "JsonLines",
    "LineHandler",
    "TextLines",
    "about",
    "announce",
    "configure",
    "hashed",
    "line_handler",
    "name_node",
    "speaks_json",
)

_PATIENCE_MS: Final = 100
_PIPE_BUF: Final = select.PIPE_BUF
"""Bytes that a pipe which can be written at all takes at once, without a wait and in one piece."""
_HASH_DIGITS: Final = 16
_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
_DIM: Final = "2"
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
"""Where something that does not print itself may be: what else is not ASCII is looked at one by one."""
_PLAIN: Final = re.compile(r"[\w.:/@*+-]+", re.ASCII)

_announcements = logging.getLogger("kvcore.announcements")


def about(*, key: str = "", traceparent: str | None = None, **others: str | float) -> dict[str, Any]:
    """Return what a line is about, for `extra`: the key as it is, and other members of the line.

    `traceparent` is that of the one write which the line is about; None: the line belongs to what is being done now.
    """
    told: dict[str, Any] = {"key": key} if key else {}
    if traceparent is not None:
        told["trace_id"] = trace_id_of(traceparent)
    return {"about": told | others}


def announce(line: str) -> None:
    """Say what whoever has started the process waits for, whatever `log.level` is; a text as it stands, without time and level."""
    _announcements.info("%s", line)


def hashed(key: str) -> str:
    """Return what names a key without telling it: the first 16 hex digits of the SHA-256 of its UTF-8."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Write the log of this process to `stream`, or else to stderr, as the settings want it; nowhere, if that was closed.

    `log.level` is that of kvcore and its plugins. Libraries are heard from "info" on at most: below that some of them write
    what they send, passwords included.
    """
    stream = stream or sys.__stderr__
    handler = logging.NullHandler() if stream is None else line_handler(settings, stream, os.environ)
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    _announcements.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def line_handler(settings: LogSettings, stream: TextIO, environment: Mapping[str, str]) -> LineHandler:
    """Return a handler that writes to a stream, which has a file descriptor, in the form that fits it."""
    is_terminal = stream.isatty()
    lines: Lines
    if settings.format == "json" or (settings.format == "auto" and not is_terminal):
        lines = JsonLines(plain_keys=settings.keys == "plain")
    else:
        coloured = is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        lines = TextLines(plain_keys=settings.keys == "plain", coloured=coloured)
    handler = LineHandler(stream.fileno())
    handler.setFormatter(lines)
    handler.addFilter(_is_fit)
    return handler


def name_node(tag: str) -> None:
    """Let all lines of this process, from now on, name the node or worker that it is."""
    for lines in _lines_in_force():
        lines.node = tag


def speaks_json() -> bool:
    """Tell whether this process was configured to write JSON."""
    return any(isinstance(lines, JsonLines) for lines in _lines_in_force())


def _lines_in_force() -> Iterator[Lines]:
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Lines):
            yield handler.formatter


def _is_fit(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or record.name.startswith("kvcore")


# --- from a record to a line ------------------------------------------------------------------------------------------


class Lines(logging.Formatter):
    """What the forms of a line have in common: its members. `node` names the process, once that is known."""

    def __init__(self, *, plain_keys: bool = False) -> None:
        super().__init__()
        self._plain_keys = plain_keys
        self.node = ""

    def _context(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the members that tell what a line is about: those that there are."""
        origin = ORIGIN.get()
        members: dict[str, Any] = {"node": self.node, "request_id": origin.request_id}
        if len(origin.traceparents) == 1:  # of several none is the line's own
            members["trace_id"] = trace_id_of(origin.traceparent)
        members |= getattr(record, "about", {})
        if "key" in members and not self._plain_keys:
            members["key"] = hashed(members["key"])
        return {name: value for name, value in members.items() if value != ""}


class JsonLines(Lines):
    """A JSON object a line: time, level, logger and message; what there is of the rest; the traceback as one text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        members = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **self._context(record),
        }
        if trace := _traceback(record):
            members["exception"] = trace
        try:
            encoded = msgspec.json.encode(members)
        except UnicodeEncodeError:  # half of a surrogate pair, which no UTF-8 has
            encoded = msgspec.json.encode({name: _whole(value) for name, value in members.items()})
        return _escaped(encoded.decode(), _json_escape)


class TextLines(Lines):
    """A line for people: time, level, logger, message, and what it is about; a traceback stands indented below."""

    def __init__(self, *, plain_keys: bool = False, coloured: bool = False) -> None:
        super().__init__(plain_keys=plain_keys)
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and those of its traceback."""
        message = _escaped(_message(record), _text_escape)
        if record.name == _announcements.name:
            return message
        level = record.levelname.lower()
        told = "".join(f" {name}={_quoted(str(value))}" for name, value in self._context(record).items())
        head = self._in_colour(f"{record.levelname:7}", _COLOURS.get(level, ""))
        line = f"{_moment(record)} {head} {record.name}: {message}{self._in_colour(told, _DIM)}"
        return "\n    ".join([line, *(_escaped(one, _text_escape) for one in _traceback(record).splitlines())])

    def _in_colour(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured and colour and text else text


def _moment(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's arguments raise; a line must not be lost for it
        return f"{record.msg} (its arguments do not fit: {type(error).__name__})"


def _traceback(record: logging.LogRecord) -> str:
    parts = [record.stack_info] if record.stack_info else []
    if record.exc_info and record.exc_info[1] is not None:
        parts.append("".join(traceback.format_exception(record.exc_info[1])))
    return "\n".join(parts).rstrip("\n")


def _whole(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    """Return a text with escapes for all that does not print itself: ends of lines, what terminals act on, what turns text around."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else escape(found[0]), text)


def _quoted(value: str) -> str:
    """Return a value as it is, or in quotation marks where its end could not be told."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + _escaped(value.replace("\\", "\\\\").replace('"', '\\"'), _text_escape) + '"'


def _text_escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


# --- from a line to a file descriptor ---------------------------------------------------------------------------------


class LineHandler(logging.Handler):
    """Writes whole lines to a file descriptor, and never waits long for whoever reads them.

    A pipe that is full, or a terminal that was stopped, gets `_PATIENCE_MS` to take a line. Then that line is lost, and so
    are the next ones, without a wait, until something is taken again; a line tells how many they were. A disk is waited
    for: it has no such state. Where several processes share a pipe, one can still be made to wait by the lines of another
    that come in between.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)
        self._lost = 0
        self._is_torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        line = self.format(record)
        if self._lost and self._written(self.format(_told_of(self._lost)), 0):
            self._lost = 0
        if self._lost or not self._written(line, _PATIENCE_MS):
            self._lost += 1

    def _written(self, line: str, patience_ms: int) -> bool:
        """Write a line in pieces that are taken at once or not at all; False: it was not, or not all of it."""
        data = f"{line}\n".encode(errors="backslashreplace")
        if self._is_torn:
            data = b"\n" + data
        sent = 0
        try:
            while sent < len(data) and self._writable.poll(patience_ms):
                sent += os.write(self._descriptor, data[sent : sent + _PIPE_BUF])
        except OSError:
            pass  # nobody reads any more: there is nobody to tell
        if sent:
            self._is_torn = sent < len(data)
        return sent == len(data)


def _told_of(lost: int) -> logging.LogRecord:
    message = "%d lines were lost before this one: whoever reads them was too slow"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (lost,), None)
