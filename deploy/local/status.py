"""What runs where: as a document, and as people read it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from deploy.local.roster import Entry

__all__ = ("Status",)

_HEAD = ("name", "kind", "address", "pid", "state")
_PAGES = {"console": "/", "docs": "/docs", "health": "/health", "metrics": "/metrics"}


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A topology.

    `url`: where clients ask. `supervisor`: the id of the process that everything ends with. `config`: the settings of nodes and
    workers, for `kvctl --config`.
    """

    folder: str
    url: str
    supervisor: int
    config: str
    processes: list[Entry]

    def table(self) -> str:
        """Return a line for each process, whose columns stand under each other."""
        return _aligned([_HEAD, *map(_row, self.processes)])

    def places(self) -> str:
        """Return where to look, and what to try."""
        pages = [(name, self.url + path) for name, path in _PAGES.items()]
        return "\n".join(
            (
                _aligned([*pages, ("settings", f"{self.config}, for kvctl --config")]),
                "",
                f"""  curl -X PUT {self.url}/kv -d '{{"data": {{"key": "greeting", "value": "hello"}}}}'""",
                f"  curl '{self.url}/kv?key=greeting'",
            )
        )


def _row(entry: Entry) -> tuple[str, ...]:
    state = f"{entry.state}, {entry.role}" if entry.role else entry.state
    return entry.name, entry.kind, entry.address, str(entry.pid or "-"), state


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
