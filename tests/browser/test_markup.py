"""What people and servers write is shown as text, whatever it would mean to a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from kvcore.client import Client
from tests.browser.console import Console, Opened
from tests.picky.node import PickyNode

MARKUP = "<img src=/console/x onerror=alert(1)><script>alert(2)</script><b>bold</b>"
"""Shown as markup it would load something, run a script or make a letter bold: each of them is seen."""


def bold(console: Console) -> int:
    """Count what the markup would have made."""
    return console.page.locator("img, b, main script").count()


@pytest.fixture
def marked(node: PickyNode, key: str) -> PickyNode:
    """Give a node with markup for a key, a value, a media type and the reason of a dead letter."""
    with Client(node.url) as client:
        client.put(MARKUP, MARKUP.encode(), media_type=f'text/html; note="{MARKUP}"')
    node.bury(f"{key} {MARKUP}", MARKUP, f"because {MARKUP}")
    return node


def test_markup_in_keys_and_values_is_text(opened: Opened, marked: PickyNode) -> None:
    """Keys, values and media types stand in the list and in the editor as they were written."""
    console = opened(marked.url)
    console.list_keys("<")
    expect(console.listed(MARKUP)).to_be_visible()
    expect(console.listing).to_contain_text(f'text/html; note="{MARKUP}"')
    console.listed(MARKUP).click()
    expect(console.value).to_have_value(MARKUP)
    console.press("Delete")
    question = console.dialog("Delete")
    expect(question).to_contain_text(MARKUP)
    question.get_by_role("button", name="Delete").click()
    expect(console.told).to_be_visible()
    assert bold(console) == 0


def test_markup_in_dead_letters_is_text(opened: Opened, marked: PickyNode, key: str) -> None:
    """So do the key, the reason and the value of a dead letter."""
    console = opened(marked.url, "Dead letters")
    table = console.page.get_by_role("table", name="Dead letters", exact=True)
    row = table.get_by_role("row").filter(has_text=f"{key} {MARKUP}")
    expect(row).to_contain_text(f"because {MARKUP}")
    row.get_by_role("button", name="Show").click()
    expect(console.page.get_by_text(f'"{MARKUP}"').first).to_be_visible()
    assert bold(console) == 0
