"""Plugins as objects, with backends that open and close where tests can see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from kvcore.backends import Factory
from kvcore.hookspecs import hookimpl
from kvcore.plugins import Plugins, load_plugins
from tests.unit.core.fakes import FakeCache, FakeQueue, FakeStore

__all__ = ("FakePlugin", "FakeSettings", "Log", "fake_plugins")

Log = list[str]


class FakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One setting of each type that settings have."""

    path: str = "here"
    size: int = 1
    ratio: float = 0.5
    on: bool = False
    hosts: tuple[str, ...] = ()


class NeedySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A setting that must be given."""

    url: str


class ForgetfulQueue(FakeQueue):
    abilities = frozenset()


class ForgetfulStore(FakeStore):
    abilities = frozenset()


class PrivateCache(FakeCache):
    abilities = frozenset()


class FakePlugin:
    """Gives the fakes under the name "fake", and variants without abilities."""

    def __init__(self, log: Log | None = None, *, failing: str = "") -> None:
        self.log: Log = [] if log is None else log
        self.failing = failing
        self.opened: dict[str, Any] = {}

    def factory(self, name: str, kind: type[Any], settings: type[msgspec.Struct] = FakeSettings) -> Factory[Any]:
        """Return a factory that notes what is opened and closed."""

        @asynccontextmanager
        async def opening(given: Any) -> AsyncIterator[Any]:
            if self.failing == kind.__name__:
                raise RuntimeError(f"{kind.__name__} cannot be opened")
            self.log.append(f"open {kind.__name__}")
            self.opened[kind.__name__] = backend = kind()
            try:
                yield backend
            finally:
                self.log.append(f"close {kind.__name__}")

        return Factory(name=name, backend=kind, settings=settings, open=opening)

    @hookimpl
    def kvcore_caches(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeCache), self.factory("private", PrivateCache)]

    @hookimpl
    def kvcore_queues(self) -> Iterable[Factory[Any]]:
        return [self.factory("fake", FakeQueue), self.factory("forgetful", ForgetfulQueue)]

    @hookimpl
    def kvcore_stores(self) -> Iterable[Factory[Any]]:
        forgetful = self.factory("forgetful", ForgetfulStore)
        return [self.factory("fake", FakeStore), forgetful, self.factory("needy", FakeStore, NeedySettings)]


def fake_plugins(plugin: object | None = None) -> Plugins:
    """Load nothing but a fake plugin."""
    return load_plugins((), extra=[("fake", plugin or FakePlugin())])
