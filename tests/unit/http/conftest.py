"""Handlers are tested in virtual time: no deadline passes because a machine is slow."""

from __future__ import annotations

from tests.unit.core.conftest import anyio_backend

__all__ = ("anyio_backend",)
