"""The live view: what the node does now, as numbers that move."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.console import Console, Opened
from tests.browser.stage import load
from tests.picky.node import PickyNode

MOVING = [
    ("Requests per second", "putRawValue"),
    ("Requests per second", "getRawValue"),
    ("Latency (ms)", "p50"),
    ("Latency (ms)", "p99"),
    ("Cache hit ratio", "hits"),
    ("Lag", "p99"),
]
"""Figures, and lines of their tables that tell of writes and reads of keys, of which the console by itself makes none."""

DOT_AND_LINE = """async module => {
    const chart = new (await import(module)).Chart({caption: "Drawn"});
    document.body.append(chart.figure);
    const thickness = () => getComputedStyle(chart.svg.querySelector(".line:not([d=''])")).strokeWidth;
    return [1000, 3000].map(at => {
        chart.add(new Map([["series", 1]]), at);
        return thickness();
    });
}"""
"""How thick a series is drawn after one reading, and after two."""


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


def test_the_first_reading_is_seen_already(console: Console) -> None:
    """A line needs two readings; one alone is a dot that is large enough to be seen."""
    dot, line = console.page.evaluate(DOT_AND_LINE, console.module("chart.js"))
    assert int(dot.removesuffix("px")) >= 5
    assert line == "2px"


def test_the_workers_are_counted_in_a_sentence(opened: Opened, node: PickyNode) -> None:
    """They are not messages, and so no line of the queue's depth."""
    queue = figure(opened(node.url, "Live"), "Queue depth")
    expect(queue).to_contain_text("Workers: 1 for writes, 1 for refreshes.")
    expect(queue.get_by_role("row").filter(has_text="worker")).to_have_count(0)


def test_a_queue_without_a_worker_is_told_of_loudly(opened: Opened, node: PickyNode) -> None:
    """What nobody takes from the queue never gets to the store."""
    console = opened(node.url, "Live")
    queue = figure(console, "Queue depth")
    expect(queue.get_by_role("status")).not_to_have_class("alert")
    console.page.route("**/metrics", without_workers)
    expect(queue.get_by_role("status")).to_have_class("alert")
    expect(queue).to_contain_text("No worker for writes and refreshes")


def test_what_is_refused_or_fails_is_counted_and_what_is_ordinary_is_not(opened: Opened, node: PickyNode) -> None:
    """A request that is not valid counts; a key that does not exist and a condition that does not hold are answers."""
    console = opened(node.url, "Live")
    requests = figure(console, "Requests per second")
    failures = figure(console, "Refused and failed requests per second")
    expect(requests.get_by_role("table")).to_be_visible()  # from now on there is a reading to compare with
    with httpx.Client(base_url=node.url) as client:
        assert client.get("/kv/no-such-key").status_code == 404
        assert client.put("/kv/no-such-key", content=b"1", headers={"if-match": "*"}).status_code == 412
        expect(requests.get_by_role("row").filter(has_text="putRawValue")).to_be_visible()
        expect(failures.get_by_role("row")).to_have_count(0)
        assert client.get("/keys?limit=none").status_code == 400
    expect(failures.get_by_role("row").filter(has_text="400 and other 4xx")).to_be_visible()
    expect(failures).to_contain_text("but for 404")


def without_workers(route: Route) -> None:
    """Answer as a node would whose queue has lost its workers, which one with a worker in itself does not."""
    answer = route.fetch()
    metrics, count = re.subn(r"(kvcore_queue_consumers\{.*\}) 1.0", r"\1 0.0", answer.text())
    assert count == 2
    route.fulfill(response=answer, body=metrics)


@pytest.mark.parametrize(
    ("function", "number", "shown"),
    [
        ("figure", 0.0123456, "0.0123"),
        ("figure", 99.96, "100"),
        ("figure", 12_345.678, "12,300"),
        ("whole", 12_345, "12,345"),
        ("duration", 7_325, "2 h 2 min"),
    ],
)
def test_numbers_are_written_to_be_read(console: Console, function: str, number: float, shown: str) -> None:
    """Three digits are enough of a measurement, and thousands stand apart; what is counted keeps every digit."""
    call = "([module, name, number]) => import(module).then(format => format[name](number))"
    assert console.page.evaluate(call, [console.module("format.js"), function, number]) == shown
