"""Opening a node and closing it, and what it says about its health."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kvcore.config import Resolved, resolve
from kvcore.errors import SettingsError
from kvcore.plugins import Plugins
from kvcore.runtime import Node, open_node, open_worker
from tests.unit.core.fakes import Fault
from tests.unit.core.given_plugins import FakePlugin, Log, fake_plugins

ENVIRONMENT = {
    "KVCORE_CACHE__BACKEND": "fake",
    "KVCORE_QUEUE__BACKEND": "fake",
    "KVCORE_STORE__BACKEND": "fake",
    "KVCORE_WORKER__IN_NODE": "true",
}
OPENED = ["open FakeStore", "open FakeCache", "open FakeQueue"]


def prepared(log: Log, *, failing: str = "", **environment: str) -> tuple[Resolved, Plugins, FakePlugin]:
    """Return what a node is opened with."""
    plugin = FakePlugin(log, failing=failing)
    plugins = fake_plugins(plugin)
    return resolve(plugins, environment=ENVIRONMENT | environment), plugins, plugin


async def test_a_node_opens_its_tiers_and_closes_them_in_reverse() -> None:
    """What was opened first is needed longest."""
    log: Log = []
    resolved, plugins, _ = prepared(log)
    async with open_node(resolved, plugins) as node:
        assert log == OPENED
        await node.service.put("key", b"value", ack="stored")
    assert log == [*OPENED, "close FakeQueue", "close FakeCache", "close FakeStore"]


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("FakeStore", []),
        ("FakeCache", ["open FakeStore", "close FakeStore"]),
        ("FakeQueue", ["open FakeStore", "open FakeCache", "close FakeCache", "close FakeStore"]),
    ],
)
async def test_what_was_opened_is_closed_when_opening_fails_half_way(failing: str, expected: Log) -> None:
    """A node that cannot start leaves nothing open."""
    log: Log = []
    resolved, plugins, _ = prepared(log, failing=failing)
    with pytest.raises(RuntimeError, match=failing):
        async with open_node(resolved, plugins):
            pytest.fail("it must not open")
    assert log == expected


async def test_a_node_is_closed_when_what_runs_on_it_fails() -> None:
    """An error inside leaves nothing open either, and comes out as it is."""
    log: Log = []
    resolved, plugins, _ = prepared(log)
    with pytest.raises(ZeroDivisionError):
        async with open_node(resolved, plugins):
            raise ZeroDivisionError
    assert log[3:] == ["close FakeQueue", "close FakeCache", "close FakeStore"]


async def test_a_worker_of_its_own_opens_the_same_tiers() -> None:
    """A process that is a worker only has no service, and the same tiers."""
    log: Log = []
    resolved, plugins, _ = prepared(log)
    async with open_worker(resolved, plugins):
        assert log == OPENED
    assert len(log) == 6


@pytest.mark.parametrize(
    ("down", "status"),
    [("", "healthy"), ("Cache", "degraded"), ("Queue", "unhealthy"), ("Store", "unhealthy")],
)
async def test_health_of_a_worker(down: str, status: str) -> None:
    """A worker can do without the cache; without queue or store there is nothing that it could do."""
    resolved, plugins, plugin = prepared([])
    async with open_worker(resolved, plugins) as drain:
        if down:
            plugin.opened[f"Fake{down}"].faults.always = "before"
        health = await drain.health()
    assert (health.status, health.limits) == (status, None)


async def test_a_worker_without_a_queue_is_refused() -> None:
    """There would be nothing for it to do."""
    resolved, plugins, _ = prepared([], KVCORE_QUEUE__BACKEND="none", KVCORE_WORKER__IN_NODE="false")
    with pytest.raises(SettingsError, match="queue"):
        async with open_worker(resolved, plugins):
            pytest.fail("it must not open")


HEALTH: list[tuple[str, str]] = [
    ("", "healthy"),
    ("Cache", "degraded"),
    ("Queue", "degraded"),
    ("Store", "degraded"),
    ("Cache Queue", "degraded"),
    ("Cache Store", "degraded"),
    ("Queue Store", "unhealthy"),
    ("Cache Queue Store", "unhealthy"),
]


async def _health(node: Node, plugin: FakePlugin, down: str, way: Fault) -> tuple[str, set[str]]:
    for kind in down.split():
        plugin.opened[f"Fake{kind}"].faults.always = way
    health = await node.health()
    for kind in down.split():
        plugin.opened[f"Fake{kind}"].faults.heal()
    return health.status, {kind for kind, component in health.components.items() if component.status == "down"}


@pytest.mark.parametrize("way", ["before", "hang", "bug"])
@pytest.mark.parametrize(("down", "status"), HEALTH, ids=[down or "none" for down, _ in HEALTH])
async def test_health_follows_from_which_tiers_answer(down: str, status: str, way: Fault) -> None:
    """Healthy: all of them; degraded: reads of the store or writes go on; unhealthy: only what is cached."""
    resolved, plugins, plugin = prepared([])
    async with open_node(resolved, plugins) as node:
        assert await _health(node, plugin, down, way) == (status, {kind.lower() for kind in down.split()})
        assert (await node.health()).status == "healthy"


async def test_health_says_what_is_down_and_who_speaks() -> None:
    """The component has the reason; the node has its name, version and profile."""
    resolved, plugins, plugin = prepared([])
    async with open_node(resolved, plugins) as node:
        plugin.opened["FakeCache"].faults.always = "before"
        health = await node.health()
    assert health.components["cache"].detail == "the server is down"
    assert (health.components["store"].detail, health.components["store"].server) == ("", "a fake")
    assert health.node == node.clock.tag
    assert health.profile == "embedded"


def test_importing_kvcore_imports_nothing_else() -> None:
    """`import kvcore` costs next to nothing: no module of anybody else's, and none of its own."""
    code = (
        "import sys; before = set(sys.modules); import kvcore; new = set(sys.modules) - before;"
        "print(*sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["kvcore"]
