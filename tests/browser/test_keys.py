"""Keys in the console: what the API offers for one key, and lists of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from kvcore.client import Client, Put
from tests.browser.console import Console

ODD_KEYS = {
    "slashes": "odd/a/b/",
    "empty segments": "odd//a///b",
    "leading slashes": "//odd",
    "only dots": "..",
    "dots": "odd/../../etc/./passwd",
    "percent": "odd/100%/%2F/%00",
    "query and fragment": "odd/?key=b&prefix=c#keys",
    "plus and spaces": "odd/ a+b  c ",
    "quotes and backslash": "odd/\"a\"\\'b'",
    "emoji": "odd/🔑/👩‍👩‍👧",
    "several scripts": "odd/ключ/鍵/مفتاح",
    "control character": "odd/\x01",
    "10 KB": "odd/" + "long/" * 2048,
}


def test_put_get_and_delete_with_the_mouse(console: Console, client: Client, key: str) -> None:
    """A value that was saved is in the store, can be read back, and is gone after a delete."""
    console.key.fill(key)
    console.value.fill('{"n": 1}')
    console.save()
    written = client.get(key)
    assert written is not None
    assert (written.data, written.media_type) == (b'{"n": 1}', "application/json")

    console.press("New")
    console.get(key)
    expect(console.value).to_have_value('{"n": 1}')
    expect(console.fact("Version")).to_have_text(written.version)
    expect(console.fact("Size")).to_contain_text("8")

    console.delete()
    expect(console.told).to_contain_text("Deleted")
    assert client.get(key) is None


def test_put_get_and_delete_with_the_keyboard_alone(console: Console, client: Client, key: str) -> None:
    """The same works for somebody who has no mouse, from the top of the page on."""
    keyboard = console.page.keyboard
    console.tab_to(console.key)
    keyboard.type(key)
    console.tab_to(console.value)
    keyboard.type("true")
    console.tab_to(console.button("Save"))
    keyboard.press("Enter")
    expect(console.told).to_contain_text("Saved")
    assert client.get(key) is not None

    console.page.reload()
    console.tab_to(console.key)
    keyboard.type(key)
    keyboard.press("Enter")
    expect(console.value).to_have_value("true")

    console.tab_to(console.button("Delete"))
    keyboard.press("Space")
    expect(console.button("Keep")).to_be_focused()
    console.tab_to(console.dialog("Delete").get_by_role("button", name="Delete"))
    keyboard.press("Enter")
    expect(console.told).to_contain_text("Deleted")
    assert client.get(key) is None


def test_a_key_is_deleted_after_a_question(console: Console, client: Client, key: str) -> None:
    """Who presses "Delete" by mistake is asked, with the focus on "Keep": that, and Escape, keep the key."""
    client.put(key, 1)
    console.get(key)
    expect(console.value).to_have_value("1")
    for press in ("Enter", "Escape"):
        console.press("Delete")
        expect(console.dialog("Delete")).to_contain_text(key)
        expect(console.button("Keep")).to_be_focused()
        console.page.keyboard.press(press)
        expect(console.dialog("Delete")).to_be_hidden()
    expect(console.told).to_be_empty()
    assert client.get(key) is not None


def test_a_key_that_does_not_exist_is_said_to_be_missing(console: Console, key: str) -> None:
    """Who asks for it is told so, and can make it at once."""
    console.watch.expect("404 GET /kv")
    console.get(key)
    expect(console.told).to_contain_text("There is no key")
    expect(console.key).to_have_value(key)
    expect(console.button("Save")).to_be_enabled()


def test_keys_are_listed_by_prefix_page_after_page(console: Console, client: Client, key: str) -> None:
    """Each key with the prefix stands there once, in order, and no other; "More" is there while there are more."""
    names = [f"{key}/{number:03}" for number in range(250)]
    client.batch([Put(name, 1) for name in [*names, f"{key}0"]])
    console.list_keys(f"{key}/")
    rows = console.listing.get_by_role("button", name=key)
    expect(rows).to_have_count(100)
    console.press("More")
    expect(rows).to_have_count(200)
    console.press("More")
    expect(rows).to_have_count(250)
    assert rows.all_text_contents() == names
    expect(console.button("More")).to_be_hidden()


def test_a_line_of_the_list_says_what_is_known_of_the_key(console: Console, client: Client, key: str) -> None:
    """Version, size and media type stand beside it, and a click opens it."""
    version = client.put(key, b"hello, world", media_type="text/plain").version
    console.list_keys(key)
    for text in (version, "12", "text/plain"):
        expect(console.line(key)).to_contain_text(text)
    console.listed(key).click()
    expect(console.key).to_have_value(key)
    expect(console.value).to_have_value("hello, world")
    expect(console.media_type).to_have_value("text/plain")


@pytest.mark.parametrize("odd", ODD_KEYS.values(), ids=ODD_KEYS)
def test_any_key_can_be_written_listed_read_and_deleted(console: Console, client: Client, odd: str) -> None:
    """A key is what was typed, byte for byte, whatever it would mean in a URL."""
    console.key.fill(odd)
    console.value.fill("1")
    console.save()
    assert client.get(odd) is not None
    console.page.reload()

    console.list_keys(odd)
    row = console.listing.get_by_role("button")
    expect(row).to_have_count(1)
    row.click()
    expect(console.value).to_have_value("1")
    console.delete()
    expect(console.told).to_contain_text("Deleted")
    assert client.get(odd) is None


def test_a_key_with_a_line_feed_is_not_taken_for_another(console: Console, client: Client, key: str) -> None:
    """No field of one line can show it as it is; opened from the list and deleted, it is gone and its neighbour stays."""
    client.batch([Put(f"{key}\nx", "the one"), Put(f"{key}x", "the neighbour")])
    console.list_keys(key)
    expect(console.listing.get_by_role("button")).to_have_count(2)
    console.listing.get_by_role("button").first.click()
    expect(console.value).to_have_value('"the one"')
    console.delete()
    expect(console.told).to_contain_text("Deleted")
    assert [listed.key for listed in client.keys(key)] == [f"{key}x"]


def test_a_time_to_live_is_set_and_shown(console: Console, client: Client, key: str) -> None:
    """The key expires so many seconds after it was saved, and the moment stands in the editor and in the list."""
    console.key.fill(key)
    console.value.fill("1")
    console.ttl.fill("3600")
    began = datetime.now(UTC)
    console.save()
    written = client.get(key)
    assert written is not None
    assert written.expires_at is not None
    an_hour = timedelta(hours=1)
    assert began + an_hour - timedelta(seconds=1) <= written.expires_at <= datetime.now(UTC) + an_hour

    console.get(key)
    expect(console.fact("Expires")).to_contain_text(re.compile(r"\d"))
    console.list_keys(key)
    expect(console.line(key).get_by_role("cell").last).to_contain_text(re.compile(r"\d"))
