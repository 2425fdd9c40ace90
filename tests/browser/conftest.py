"""A browser, nodes that show it the console, and tabs that are watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from kvcore.client import Client
from tests.browser.chromium import running_chromium
from tests.browser.console import Console, Opened, View
from tests.browser.watching import Watch
from tests.picky.node import PickyNode, picky_node

expect.set_options(timeout=15_000)  # a slow machine is no fault


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Give Chromium; each test has a profile of its own in it."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Give a function that opens a view of a node's console in a new profile; no page may be at fault in the end."""
    watches = []
    with ExitStack() as stack:

        def opened(url: str, view: View = "Keys", *expected: str, **options: Any) -> Console:
            context = stack.enter_context(browser.new_context(**options))
            watch = Watch(context, url)
            watch.expect(*expected)
            watches.append(watch)
            console = Console(context.new_page(), watch, url)
            console.open(view)
            return console

        yield opened
        for watch in watches:
            watch.check()


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PickyNode]:
    """Give a node that asks nobody for a token, and whose store can be told to refuse writes; every test uses keys of its own."""
    with picky_node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def console(opened: Opened, node: PickyNode) -> Console:
    """Give the view of keys."""
    return opened(node.url)


@pytest.fixture
def client(node: PickyNode) -> Iterator[Client]:
    """Give another user of the same node."""
    with Client(node.url) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Give a key that no other test uses."""
    return f"test/{request.node.name}"
