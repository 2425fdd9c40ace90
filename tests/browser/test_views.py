"""How the console looks: everybody can use each view, by day, by night and on a phone. A picture of each is kept in .screenshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Page, expect

from kvcore.client import Client, Put
from tests.browser.accessibility import axe_source, violations
from tests.browser.console import VIEWS, Console, Opened, View
from tests.browser.stage import load
from tests.picky.node import PickyNode, picky_node

Scheme = Literal["light", "dark"]

PICTURES: Final = Path(__file__).parents[2] / ".screenshots"
PHONE: Final = {"width": 360, "height": 740}
LOOKS: Final[dict[str, tuple[dict[str, Any], tuple[Scheme, ...]]]] = {
    "wide": ({"viewport": {"width": 1280, "height": 900}}, ("light", "dark")),
    "phone": ({"viewport": PHONE, "has_touch": True, "is_mobile": True}, ("light",)),
}
"""Of each kind of window what is special about it, and the colours that it is looked at in."""
LONG: Final = "orders/2026/" + "-a-long-name-without-a-space" * 4


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the source of axe-core."""
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PickyNode]:
    """Give a node with something to be seen in each view."""
    with picky_node(tmp_path_factory.mktemp("furnished")) as node, Client(node.url) as client:
        client.batch([Put(f"orders/2026/{number:04}", {"total": number}, ttl_s=86_400) for number in range(20)])
        client.put(LONG, [LONG])
        client.put("photos/🔑.png", bytes(range(256)) * 40, media_type="image/png")
        client.put("orders/2026/note", b"two\nlines", media_type="text/plain")
        for number in range(3):
            node.bury(f"orders/2025/{number}", {"total": number}, "the value breaks the rule orders_total_positive")
        yield node


def furnish(console: Console, view: View, url: str) -> None:
    """Bring a view into the state in which it is most of the time, and has most to show."""
    if view == "Keys":
        console.list_keys("orders/")
        console.listed(LONG).click()
        expect(console.value).to_have_value(f'["{LONG}"]')
    elif view == "Dead letters":
        console.button("Show").first.click()
        expect(console.page.get_by_role("region", name="Dead letter", exact=True)).to_be_visible()
    elif view == "Live":
        lag = console.page.get_by_role("figure", name="Lag", exact=True)
        with load(url):
            expect(lag.get_by_role("table")).to_be_visible()
    elif view == "Configuration":
        expect(console.page.get_by_text("store.backend", exact=True)).to_be_visible()
    else:
        expect(console.page.get_by_role("article")).to_have_count(3)
    expect(console.status).to_have_text("Healthy")


def conflict(console: Console, client: Client) -> None:
    """Lose an edit against another writer."""
    console.watch.expect("412 PUT /kv")
    console.get("orders/2026/note")
    expect(console.value).to_have_value("two\nlines")
    console.only_if_unchanged.check()
    client.put("orders/2026/note", b"two\nlines", media_type="text/plain")
    console.value.fill("three\nlines")
    console.press("Save")
    expect(console.button("Overwrite theirs")).to_be_visible()


def leave_unsaved(console: Console) -> None:
    """Ask for another key with an edit that is not saved."""
    console.get("orders/2026/note")
    expect(console.value).to_have_value("two\nlines")
    console.value.fill("three\nlines")
    console.get("orders/2026/0001")
    expect(console.dialog("Leave")).to_be_visible()


def ask_to_discard(console: Console) -> None:
    """Open the dialog of a discard."""
    console.button("Discard").first.click()
    expect(console.dialog("Discard")).to_be_visible()


def show_bytes(console: Console) -> None:
    """Open a value that is no text."""
    console.list_keys("photos/")
    console.listed("photos/🔑.png").click()
    expect(console.fact("Media type")).to_have_text("image/png")


def check(page: Page, name: str, look: str, axe: str) -> None:
    """Keep a picture of a page in each colour, and refuse what is serious, and what sticks out at the side."""
    PICTURES.mkdir(exist_ok=True)
    for scheme in LOOKS[look][1]:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        kind = scheme if look == "wide" else look
        page.screenshot(path=PICTURES / f"{name}-{kind}.png", full_page=True)
        assert violations(page, axe) == [], scheme
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_can_be_used_by_everybody(opened: Opened, furnished: PickyNode, axe: str, view: View, look: str) -> None:
    """No violation that axe-core calls serious or critical, and nothing that has to be scrolled to sideways."""
    console = opened(furnished.url, view, **LOOKS[look][0])
    furnish(console, view, furnished.url)
    check(console.page, VIEWS[view], look, axe)


STATES: Final[dict[str, tuple[View, Callable[[Console, Client], None]]]] = {
    "conflict": ("Keys", conflict),
    "bytes": ("Keys", lambda console, _: show_bytes(console)),
    "leave": ("Keys", lambda console, _: leave_unsaved(console)),
    "token": ("Keys", lambda console, _: console.press("Token")),
    "discard": ("Dead letters", lambda console, _: ask_to_discard(console)),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("state", STATES)
def test_what_a_view_turns_into_can_be_used_by_everybody(
    opened: Opened, furnished: PickyNode, axe: str, state: str, look: str
) -> None:
    """The same holds for an edit that has lost, for bytes, and for each dialog."""
    view, bring_about = STATES[state]
    console = opened(furnished.url, view, **LOOKS[look][0])
    with Client(furnished.url) as client:
        bring_about(console, client)
    check(console.page, state, look, axe)


def test_save_and_delete_are_in_sight_beside_the_list(opened: Opened, furnished: PickyNode) -> None:
    """They need no scrolling where the window is lower than what there is to say of a value."""
    console = opened(furnished.url, viewport={"width": 1280, "height": 600})
    show_bytes(console)
    for name in ("Save", "Delete"):
        expect(console.button(name)).to_be_in_viewport(ratio=1)


def test_the_editor_is_near_on_a_phone_however_many_keys_are_listed(opened: Opened, node: PickyNode, key: str) -> None:
    """Nobody has to go past all of them to get to it."""
    with Client(node.url) as client:
        client.batch([Put(f"{key}/{number:03}", 1) for number in range(200)])
    console = opened(node.url, **LOOKS["phone"][0])
    console.list_keys(f"{key}/")
    console.press("More")
    expect(console.listing.get_by_role("button")).to_have_count(200)
    box = console.key.bounding_box()
    page_y = console.page.evaluate("scrollY")
    assert box is not None
    assert page_y + box["y"] < 1.5 * PHONE["height"]
