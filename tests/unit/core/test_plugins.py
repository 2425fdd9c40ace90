"""Loading plugins: what is broken is named, and harms nobody else."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint

import pytest

from kvcore.backends import Factory, Store
from kvcore.errors import PluginError
from kvcore.hookspecs import hookimpl
from kvcore.plugins import GROUP, load_plugins
from tests.unit.core.fakes import FakeStore
from tests.unit.core.given_plugins import FakePlugin, fake_plugins


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module that an entry point can name."""
    given = types.ModuleType("kvcore_given_by_a_test")
    sys.modules[given.__name__] = given
    yield given
    del sys.modules[given.__name__]


def points(**values: str) -> list[EntryPoint]:
    """Return entry points by name."""
    return [EntryPoint(name, value, GROUP) for name, value in values.items()]


def test_a_plugin_is_found_by_its_entry_point(module: types.ModuleType) -> None:
    """What an entry point names is loaded, and what it gives can be chosen."""
    module.plugin = FakePlugin()  # type: ignore[attr-defined]  # a module made here
    plugins = load_plugins(points(good="kvcore_given_by_a_test:plugin"))
    assert set(plugins.loaded) == {"good"}
    assert plugins.choose("store", "fake").backend is FakeStore


@pytest.mark.parametrize(
    "value", ["kvcore_not_there", "kvcore_given_by_a_test:nothing"], ids=["no such module", "no such attribute"]
)
def test_a_broken_plugin_is_reported_and_stops_nobody(module: types.ModuleType, value: str) -> None:
    """The others are loaded; who asks for a backend that is not there learns which plugin is broken, and why."""
    module.plugin = FakePlugin()  # type: ignore[attr-defined]  # a module made here
    plugins = load_plugins(points(bad=value, good="kvcore_given_by_a_test:plugin"))
    assert set(plugins.loaded) == {"good"}
    (broken,) = plugins.broken
    assert broken.name == "bad"
    assert plugins.choose("cache", "fake").name == "fake"
    with pytest.raises(PluginError, match=f"'bad'.*{broken.reason.partition(':')[0]}"):
        plugins.choose("cache", "redis")


def test_an_unknown_backend_is_refused_with_what_there_is() -> None:
    """The message lists the names that would have been right."""
    with pytest.raises(PluginError, match="no store backend 'sqlight'; installed: fake, forgetful, needy"):
        fake_plugins().choose("store", "sqlight")


def test_a_misspelt_hook_is_refused() -> None:
    """A hook that does not exist would never be called, and nobody would know."""

    class Misspelt:
        @hookimpl
        def kvcore_casches(self) -> Iterable[Factory[Store]]:
            return []

    with pytest.raises(PluginError, match="kvcore_casches"):
        fake_plugins(Misspelt())


def test_two_backends_of_one_name_are_refused() -> None:
    """Which of them is meant cannot be told."""
    with pytest.raises(PluginError, match="two plugins give a cache backend 'fake'"):
        load_plugins((), extra=[("one", FakePlugin()), ("two", FakePlugin())])


def test_one_name_can_be_used_for_each_kind() -> None:
    """A cache, a queue and a store may share a name: they are chosen apart."""
    plugins = fake_plugins()
    assert len({plugins.choose(kind, "fake").backend for kind in ("cache", "queue", "store")}) == 3


def test_a_plugin_that_gives_nothing_is_fine() -> None:
    """None and an empty list both mean: nothing of this kind."""

    class Empty:
        @hookimpl
        def kvcore_caches(self) -> None:
            return None

        @hookimpl
        def kvcore_stores(self) -> Iterable[Factory[Store]]:
            return []

    plugins = fake_plugins(Empty())
    assert plugins.factories == {"cache": {}, "queue": {}, "store": {}}


def test_a_hook_that_raises_is_refused_by_the_plugins_name() -> None:
    """Whoever reads the message knows which plugin to remove or mend."""

    class Raising:
        @hookimpl
        def kvcore_stores(self) -> Iterable[Factory[Store]]:
            raise ZeroDivisionError("a bug")

    with pytest.raises(PluginError, match=r"fake.*ZeroDivisionError"):
        fake_plugins(Raising())


def test_each_hook_that_raises_is_refused_by_the_plugins_name() -> None:
    """Hooks that are called later, when a node starts, name the plugin too; generators, which raise later still, as well."""

    class Raising:
        @hookimpl
        def kvcore_applied(self) -> None:
            raise ZeroDivisionError("a bug")

        @hookimpl
        def kvcore_routes(self) -> Iterable[object]:
            yield "handler"
            raise ZeroDivisionError("a bug")

    plugins = fake_plugins(Raising())
    for hook in ("kvcore_applied", "kvcore_routes"):
        with pytest.raises(PluginError, match=r"fake.*ZeroDivisionError"):
            plugins.given(hook)


def test_what_plugins_give_by_a_hook_is_all_that_is_not_none() -> None:
    """A plugin that gives nothing leaves no trace."""

    class Giving:
        @hookimpl
        def kvcore_routes(self) -> Iterable[object]:
            return ["handler"]

        @hookimpl
        def kvcore_applied(self) -> None:
            return None

    plugins = fake_plugins(Giving())
    assert plugins.given("kvcore_routes") == [["handler"]]
    assert plugins.given("kvcore_applied") == []
