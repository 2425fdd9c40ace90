"""How `kvctl top` shows its figures: as tables on a terminal, as wide as it is, and as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from kvcore.cli._output import table, visible
from kvcore.cli._running.figures import Figures

__all__ = ("Screen", "plain")

_UNKNOWN: Final = "-"
_STYLES: Final = {"healthy": "green", "degraded": "yellow"}
_BAD: Final = "bold red"
_WORTH_A_LOOK: Final = "yellow"
_WIDEST: Final = 10_000


class Column(msgspec.Struct, frozen=True):
    """A column of the view: its title, its text for a node, and how that is to be seen."""

    title: str
    text: Callable[[Figures], str]
    style: Callable[[Figures], str] = lambda figures: ""
    is_number: bool = True


class Screen:
    """One state of the view, drawn anew as wide as the terminal is by then."""

    def __init__(self, figures: Sequence[Figures], *, head: str) -> None:
        self._figures = figures
        self._head = head

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        yield Text(f"{self._head}\n", style="bold")
        yield from self._as_wide_as(options.max_width)
        for one in self._figures:
            if one.detail:
                yield Text(f"{_name(one)}: {visible(one.detail)}", style=_BAD)

    def _as_wide_as(self, width: int) -> Iterator[RenderableType]:
        """Yield the figures in one table, or in two, or, where these are too wide as well, as a list."""
        for layout in _LAYOUTS:
            tables = [_table(self._figures, columns) for columns in layout]
            if all(_width(one) <= width for one in tables):
                for one in tables:
                    yield one
                    yield Text()
                return
        yield from map(_block, self._figures)


def plain(figures: Sequence[Figures]) -> str:
    """Return the figures as a table for whoever reads it later."""
    (columns,) = _LAYOUTS[0]
    return table(
        [tuple(column.title for column in columns)] + [tuple(column.text(one) for column in columns) for one in figures]
    )


def _table(figures: Sequence[Figures], columns: Sequence[Column]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.is_number else "left", no_wrap=True)
    for one in figures:
        drawn.add_row(*(_cell(column, one) for column in columns))
    return drawn


def _width(drawn: Table) -> int:
    return Console(width=_WIDEST).measure(drawn).maximum


def _block(one: Figures) -> RenderableType:
    """Return a node as lines of pairs, for a terminal that no table fits into."""
    name, status = (_cell(column, one) for column in _STATE)
    known = [column for column in (*_TRAFFIC, *_BEHIND) if column.text(one) != _UNKNOWN]
    pairs = [Text.assemble((column.title.lower(), "dim"), " ", _cell(column, one)) for column in known]
    return Group(Text.assemble(name, "  ", status), Columns(pairs, padding=(0, 2)), Text())


def _cell(column: Column, one: Figures) -> Text:
    return Text(visible(column.text(one)), style=column.style(one))


def _name(one: Figures) -> str:
    split = urlsplit(one.url)
    return split.netloc + split.path.rstrip("/")


def _per_second(rate: float | None) -> str:
    return _UNKNOWN if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.1f}ms"
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds / 60:,.0f}min"


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _share(ratio: float | None) -> str:
    return _UNKNOWN if ratio is None else f"{ratio:.0%}"


def _bytes(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number / 1e6:,.0f}MB"


def _status_style(one: Figures) -> str:
    return _STYLES.get(one.status, _BAD)


_STATE: Final = (
    Column("NODE", _name, is_number=False),
    Column("STATUS", lambda one: one.status, _status_style, is_number=False),
)
_TRAFFIC: Final = (
    Column("REQ/S", lambda one: _per_second(one.requests_per_s)),
    Column("P50", lambda one: _time(one.p50_s)),
    Column("P99", lambda one: _time(one.p99_s)),
    Column("HITS", lambda one: _share(one.hit_ratio)),
    Column("WRITES/S", lambda one: _per_second(one.writes_per_s)),
    Column("CONN", lambda one: _count(one.connections)),
)
_BEHIND: Final = (
    Column("LAG P99", lambda one: _time(one.lag_p99_s)),
    Column("OLDEST", lambda one: _time(one.lag_oldest_s)),
    Column("QUEUE", lambda one: _count(one.queue_depth)),
    Column("DEAD", lambda one: _count(one.dead_letters), lambda one: _WORTH_A_LOOK if one.dead_letters else ""),
    Column("OPEN", lambda one: ",".join(one.breakers_open) or _UNKNOWN, lambda one: _BAD if one.breakers_open else ""),
    Column("MEMORY", lambda one: _bytes(one.memory_bytes)),
    Column("CPU", lambda one: _share(one.cpu)),
)
_LAYOUTS: Final = (
    ((*_STATE, *_TRAFFIC, *_BEHIND),),
    ((*_STATE, *_TRAFFIC), (_STATE[0], *_BEHIND)),
)
