"""What names mean on the command line: a process, or all of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ("UnknownNameError", "chosen")


class UnknownNameError(Exception):
    """There is no process of that name, and no kind; the message lists those that there are."""


def chosen(kinds: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return the processes that are meant, each once. `kinds` has the names of all processes by their kind.

    Raises:
        UnknownNameError: nothing is called that.
    """
    processes = [name for kind in kinds.values() for name in kind]
    if unknown := [name for name in names if name not in kinds and name not in processes]:
        raise UnknownNameError(
            f"there is no {', no '.join(unknown)}; there is {', '.join(processes)}, and the kinds {', '.join(kinds)}"
        )
    found = (process for name in names for process in kinds.get(name, (name,)))
    return list(dict.fromkeys(found))
