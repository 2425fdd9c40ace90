"""Logs of several processes, line by line, each with the name of whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ("LOOKS_EVERY_S", "LogFollower", "labelled")

LOOKS_EVERY_S: Final = 0.2
"""A good pause between two looks at files: soon enough for people."""

_UNSHOWN: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a log may have of colours of its own, and whatever else would do something to a terminal."""
_COLOURS: Final = (36, 33, 32, 35, 34, 31)


def labelled(name: str, line: str, *, width: int, colour: int | None = None) -> str:
    """Return a line behind a name, which is padded to that width. `colour`: a number that stands for one of the terminal's."""
    label = f"{name:{width}} |"
    if colour is not None:
        label = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{label}\x1b[0m"
    return f"{label} {_UNSHOWN.sub('', line)}"


class LogFollower:
    """Reads what is added to files, which need not be there yet.

    Args:
        files: The files, by the names that lines are to have.
        coloured: Whether each name has a colour.
    """

    def __init__(self, files: Mapping[str, Path], *, coloured: bool) -> None:
        self._files = files
        self._read = dict.fromkeys(files, 0)
        self._width = max(map(len, files), default=0)
        self._coloured = coloured

    def skip(self) -> None:
        """Leave out what is there already."""
        for name, file in self._files.items():
            if file.exists():
                self._read[name] = file.stat().st_size

    def lines(self) -> Iterator[str]:
        """Give the lines that have come to their end since the last call, file by file."""
        for number, (name, file) in enumerate(self._files.items()):
            for line in self._new_lines(name, file):
                yield labelled(name, line, width=self._width, colour=number if self._coloured else None)

    def _new_lines(self, name: str, file: Path) -> list[str]:
        if not file.exists():
            return []
        with file.open("rb") as stream:
            stream.seek(self._read[name])
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read[name] += len(whole)
        return whole.decode(errors="replace").split("\n")[:-1]
