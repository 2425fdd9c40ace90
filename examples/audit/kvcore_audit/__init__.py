"""An example plugin: remembers the latest mutations that this node applied to the store, and shows them at `GET /audit`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kvcore.hookspecs import hookimpl
from kvcore.model import Mutation

__all__ = ("Audit", "plugin")


class Audit:
    """The plugin: one object, so that its hooks share what it remembers."""

    def __init__(self, size: int = 1000) -> None:
        self._latest: deque[dict[str, Any]] = deque(maxlen=size)

    @hookimpl
    def kvcore_applied(self) -> Callable[[Sequence[Mutation]], None]:
        """Be told what is applied."""
        return self._note

    @hookimpl
    def kvcore_routes(self) -> Sequence[Any]:
        """Serve what was noted, newest first."""
        from litestar import get  # noqa: PLC0415 - only a process that serves HTTP needs it

        @get("/audit")
        async def audit() -> list[dict[str, Any]]:
            return list(reversed(self._latest))

        return [audit]

    def _note(self, mutations: Sequence[Mutation]) -> None:
        for mutation in mutations:
            operation = "delete" if mutation.entry.value is None else "put"
            self._latest.append({"operation": operation, "key": mutation.key, "version": mutation.version})


plugin = Audit()
