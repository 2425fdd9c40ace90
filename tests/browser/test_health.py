"""The node's health in the console: seen soon, on every view, without reloading."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from kvcore.testing.nodes import NodeProcess, running_node
from tests.browser.console import Console, Opened

SOON_MS = 5_000
"""Within so many milliseconds an outage must be seen."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of a node's database."""
    path: Path = tmp_path_factory.mktemp("node") / "kvcore.db"
    return path


@pytest.fixture(scope="module")
def on_disk(database: Path) -> Iterator[NodeProcess]:
    """Give a node with a queue before a store that can be taken away from it."""
    settings = {"profile": "memory", "store.backend": "sqlite", "store.sqlite.path": str(database)}
    with running_node(settings) as node:
        yield node


@contextmanager
def outage(database: Path) -> Iterator[None]:
    """Take the store away: another program holds the lock without which nothing can be written."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_an_outage_of_the_store_is_seen_within_five_seconds_and_so_is_its_end(
    opened: Opened, on_disk: NodeProcess, database: Path
) -> None:
    """The status in the header turns to Degraded, and back to Healthy, without a reload."""
    console = opened(on_disk.url)
    expect(console.status).to_have_text("Healthy")
    with outage(database):
        expect(console.status).to_have_text("Degraded", timeout=SOON_MS)
    expect(console.status).to_have_text("Healthy")


def test_each_tier_is_shown_with_what_its_state_means(opened: Opened, on_disk: NodeProcess, database: Path) -> None:
    """There is an article for each, with status, backend and breaker, and of the one that is down it says why."""
    console = opened(on_disk.url, "Health")
    for tier, backend in (("cache", "memory"), ("queue", "memory"), ("store", "sqlite")):
        for name, text in (("Status", "up"), ("Backend", backend), ("Circuit breaker", "closed")):
            expect(console.fact(name, of=article(console, tier))).to_have_text(text)
    store = article(console, "store")
    with outage(database):
        expect(console.fact("Status", of=store)).to_have_text("down")
        expect(store).to_contain_text("another program is using the database")
        expect(console.fact("Status", of=article(console, "cache"))).to_have_text("up")
    expect(console.fact("Status", of=store)).to_have_text("up")


def test_a_node_that_can_serve_nothing_but_its_cache_is_unhealthy(opened: Opened, tmp_path: Path) -> None:
    """Without a queue nothing can be written while the store is away, and the console tells that from less."""
    database = tmp_path / "kvcore.db"
    with running_node({"store.sqlite.path": str(database)}) as node:
        console = opened(node.url, "Health", "503 GET /health")
        expect(console.status).to_have_text("Healthy")
        with outage(database):
            expect(console.status).to_have_text("Unhealthy")
            expect(console.fact("Status", of=article(console, "store"))).to_have_text("down")
        expect(console.status).to_have_text("Healthy")


def test_a_node_that_is_gone_is_unreachable(opened: Opened) -> None:
    """Who looks at the page of a node that was stopped is not left with what was true before."""
    with running_node({"profile": "memory"}) as node:
        console = opened(node.url)
        expect(console.status).to_have_text("Healthy")
        console.watch.expect("net::ERR_")
    expect(console.status).to_have_text("Unreachable")


def article(console: Console, tier: str) -> Locator:
    """Return what is said of a tier."""
    heading = console.page.get_by_role("heading", name=tier)
    return console.page.get_by_role("article").filter(has=heading)
