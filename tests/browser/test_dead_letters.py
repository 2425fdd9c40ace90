"""Dead letters in the console: what the store refused is looked at, put back, or thrown away."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from kvcore.client import Client
from kvcore.testing.nodes import running_node
from tests.browser.console import Console, Opened
from tests.picky.node import PickyNode

REASON = "the moon is in the wrong house"


@pytest.fixture
def letters(opened: Opened, node: PickyNode, key: str) -> Console:
    """Give the view of dead letters; two of them are of keys that end with "a" and "b"."""
    node.bury(f"{key}/a", {"n": 1}, REASON)
    node.bury(f"{key}/b", b"\x00\xff", REASON)
    return opened(node.url, "Dead letters")


def line(console: Console, key: str) -> Locator:
    """Return the line of a key in the table."""
    table = console.page.get_by_role("table", name="Dead letters", exact=True)
    return table.get_by_role("row").filter(has=console.page.get_by_role("rowheader", name=key, exact=True))


def press(console: Console, key: str, name: str) -> None:
    """Press a button in the line of a key."""
    line(console, key).get_by_role("button", name=name).click()


def test_a_dead_letter_is_listed_with_its_reason_and_shown_with_its_value(letters: Console, key: str) -> None:
    """Who decides about it sees what was to be written, as JSON or as bytes, and why it was not."""
    expect(line(letters, f"{key}/a")).to_contain_text(REASON)
    letter = letters.page.get_by_role("region", name="Dead letter", exact=True)
    press(letters, f"{key}/a", "Show")
    expect(letter).to_contain_text('"n": 1')
    expect(letter).to_contain_text(REASON)
    press(letters, f"{key}/b", "Show")
    expect(letter).to_contain_text("00 ff")


def test_a_dead_letter_is_replayed(letters: Console, client: Client, key: str) -> None:
    """Once the store takes it, it is applied and leaves the list; the other one stays."""
    press(letters, f"{key}/a", "Replay")
    expect(line(letters, f"{key}/a")).to_have_count(0)
    expect(line(letters, f"{key}/b")).to_be_visible()
    letters.open("Keys")
    letters.list_keys(key)
    expect(letters.listed(f"{key}/a")).to_be_visible()
    found = client.get(f"{key}/a", from_store=True)
    assert found is not None
    assert found.json() == {"n": 1}


def test_a_dead_letter_is_discarded_after_a_question(letters: Console, key: str) -> None:
    """The answer "Keep" keeps it; "Discard" does away with it for good, and the other one stays."""
    dialog = letters.dialog("Discard")
    press(letters, f"{key}/b", "Discard")
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog).to_be_hidden()
    expect(line(letters, f"{key}/b")).to_be_visible()

    press(letters, f"{key}/b", "Discard")
    dialog.get_by_role("button", name="Discard").click()
    expect(line(letters, f"{key}/b")).to_have_count(0)
    letters.page.reload()
    expect(line(letters, f"{key}/a")).to_be_visible()
    expect(line(letters, f"{key}/b")).to_have_count(0)


def test_a_node_without_a_queue_says_that_it_has_no_dead_letters(opened: Opened, tmp_path: Path) -> None:
    """Where there is no queue, the view says so rather than showing a failure, also where the node's health comes last."""
    with running_node({"store.sqlite.path": str(tmp_path / "kvcore.db")}) as node:
        console = opened(node.url, "Dead letters", "501 GET /admin/dead-letters")
        page = console.page
        with (
            console.without_answers("/health"),
            page.expect_request_finished(lambda request: "dead-letters" in request.url),
        ):
            page.reload()
        expect(page.get_by_role("main")).to_contain_text("This node has no queue")
        expect(console.alert).to_have_count(0)
