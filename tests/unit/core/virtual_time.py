"""An event loop whose clock jumps to the next timer as soon as nothing else is ready: deadlines cost no time, and are exact."""

from __future__ import annotations

import asyncio
import selectors

__all__ = ("VirtualTimeLoop",)


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: moves the clock on by as much as it was asked to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None and not (ready := super().select(0)):
            raise RuntimeError("everything waits, and nothing will ever happen")
        self.now += timeout or 0.0
        return super().select(0) if timeout is not None else ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time. Not for threads or sockets: nobody waits for them."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._jumping.now
