"""The live view: what the node does now, as numbers that move."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from tests.browser.console import Console, Opened
from tests.browser.stage import PickyNode, load

MOVING = [
    ("Requests per second", "putRawValue"),
    ("Requests per second", "getRawValue"),
    ("Latency (ms)", "p50"),
    ("Latency (ms)", "p99"),
    ("Cache hit ratio", "hits"),
    ("Lag", "p99"),
]
"""Figures, and lines of their tables that tell of writes and reads of keys, of which the console by itself makes none."""


def figure(console: Console, name: str) -> Locator:
    """Return the figure of a caption."""
    return console.page.get_by_role("figure", name=name, exact=True)


def test_the_numbers_move_with_the_requests(opened: Opened, node: PickyNode) -> None:
    """Throughput, latency, hit ratio and lag show that there is load."""
    console = opened(node.url, "Live")
    with load(node.url):
        for caption, series in MOVING:
            row = figure(console, caption).get_by_role("row").filter(has_text=series)
            expect(row.get_by_role("cell").first).to_contain_text(re.compile("[1-9]"))


def test_each_tier_has_its_circuit_breaker_shown(opened: Opened, node: PickyNode) -> None:
    """Whether calls are let through to cache, queue and store is seen at one glance."""
    breakers = figure(opened(node.url, "Live"), "Circuit breakers")
    for tier in ("cache", "queue", "store"):
        expect(breakers).to_contain_text(tier, ignore_case=True)
    expect(breakers).to_contain_text("closed", ignore_case=True)
