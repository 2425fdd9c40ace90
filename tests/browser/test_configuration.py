"""The configuration in the console: what is in force, where it came from, and nothing secret."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.console import Opened
from tests.picky.node import PASSWORD, PickyNode

LINES_OF_NAMES = """() => [...document.querySelectorAll("#configuration-table th code")].map(name =>
    [...name.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(word => {
        const range = document.createRange();
        range.selectNodeContents(word);
        return [...new Set([...range.getClientRects()].map(({top}) => top))];
    }))"""
"""Of each setting's name the words, and of each word the heights at which it stands: more than one where a line ends in it."""


def test_a_setting_is_shown_with_its_value_and_its_source(opened: Opened, node: PickyNode) -> None:
    """Each layer that a setting can come from is named: profile, flag and default."""
    console = opened(node.url, "Configuration")
    table = console.page.get_by_role("table", name="Configuration", exact=True)
    for setting, value, source in (
        ("cache.backend", "memory", "profile memory"),
        ("store.backend", "picky", "flag"),
        ("http.keep_alive_s", "75", "default"),
    ):
        row = table.get_by_role("row").filter(has=console.page.get_by_text(setting, exact=True))
        expect(row).to_contain_text(value)
        expect(row).to_contain_text(source)


def test_settings_are_found_by_a_part_of_their_name(opened: Opened, node: PickyNode) -> None:
    """The filter leaves the lines that match, and all when it is empty again."""
    console = opened(node.url, "Configuration")
    table = console.page.get_by_role("table", name="Configuration", exact=True)
    field = console.page.get_by_label("Filter", exact=True)
    port, keep_alive = (table.get_by_text(setting, exact=True) for setting in ("http.port", "http.keep_alive_s"))
    expect(port).to_be_visible()
    field.fill("keep_alive")
    expect(keep_alive).to_be_visible()
    expect(port).to_be_hidden()
    field.fill("")
    expect(port).to_be_visible()


def test_a_name_that_is_too_long_for_a_line_breaks_between_its_words(opened: Opened, node: PickyNode) -> None:
    """On a small phone some names take two lines, and every word of them stands in one."""
    console = opened(node.url, "Configuration", viewport={"width": 240, "height": 740})
    expect(console.page.get_by_text("http.port", exact=True)).to_be_visible()
    names: list[list[list[float]]] = console.page.evaluate(LINES_OF_NAMES)
    assert max(len({top for word in name for top in word}) for name in names) > 1
    assert all(len(word) == 1 for name in names for word in name)


def test_the_node_is_named_as_soon_as_it_is_known(opened: Opened, node: PickyNode) -> None:
    """Whose configuration it is stands there also where the node's health comes last."""
    console = opened(node.url, "Configuration")
    with console.without_answers("/health"):
        console.page.reload()
        expect(console.page.get_by_text("http.port", exact=True)).to_be_visible()
    expect(console.page.get_by_text(re.compile("profile memory. Secrets are not shown"))).to_be_visible()


def test_a_secret_is_hidden(opened: Opened, node: PickyNode) -> None:
    """That it is set is seen, and what it is nowhere on the page."""
    console = opened(node.url, "Configuration")
    row = console.page.get_by_role("row").filter(has_text="store.picky.password")
    expect(row.first).to_contain_text("******")
    assert PASSWORD not in console.page.content()
