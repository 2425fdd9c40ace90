"""What is edited and not saved: nothing takes its place unasked, and it overwrites no key that was not looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import pytest
from playwright.sync_api import FilePayload, expect

from kvcore.client import Client
from tests.browser.console import VIEWS, Console

HELD_BY_THE_BROWSER: Final = "() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))"
"""Whether the browser would ask before it leaves the page."""
FILE: Final[FilePayload] = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"from a file"}


def press_enter(console: Console, other: str) -> None:
    """Open a key without a mouse."""
    console.key.fill(other)
    console.key.press("Enter")


def take_file(console: Console) -> None:
    """Take a value from a file."""
    console.file.set_input_files(FILE)
    expect(console.value).to_have_value("from a file")


WAYS: Final[dict[str, Callable[[Console, str], None]]] = {
    "a line of the list": lambda console, other: console.listed(other).click(),
    "Get": lambda console, other: console.get(other),
    "Enter": press_enter,
}
"""How another key is opened."""
EDITS: Final[dict[str, Callable[[Console], None]]] = {
    "another text": lambda console: console.value.fill('"mine"'),
    "no text": lambda console: console.value.fill(""),
    "another media type": lambda console: console.media_type.fill("text/plain"),
    "another time to live": lambda console: console.ttl.fill("60"),
    "a file": take_file,
}

ASKED_TWICE: Final = """async module => {
    const { isAgreed } = await import(module);
    void isAgreed("Delete", "Delete it?");
    return isAgreed("Leave", "Leave it?", "Keep editing");
}"""
"""The answer to a question that comes while another one is open."""


@pytest.fixture
def edited(console: Console, client: Client, key: str) -> Console:
    """Give the editor of the first of two keys, with a text in it that is not saved."""
    client.put(f"{key}/a", "a")
    client.put(f"{key}/b", "b")
    console.list_keys(f"{key}/")
    console.listed(f"{key}/a").click()
    expect(console.value).to_have_value('"a"')
    console.value.fill('"mine"')
    return console


def held(client: Client, key: str) -> str:
    """Return the text of a key's value."""
    found = client.get(key)
    assert found is not None
    return found.text()


def keep(console: Console) -> None:
    """Answer the question with the button that has the focus: the edit stays."""
    button = console.dialog("Leave").get_by_role("button", name="Keep editing", exact=True)
    expect(button).to_be_focused()
    console.page.keyboard.press("Enter")
    expect(console.dialog("Leave")).to_be_hidden()


@pytest.mark.parametrize("way", WAYS)
def test_another_key_takes_the_place_of_an_edit_only_when_that_may_go(
    edited: Console, client: Client, key: str, way: str
) -> None:
    """Who opens one is asked: "Keep editing" keeps the text, which can still be saved, and "Leave" shows the other key."""
    WAYS[way](edited, f"{key}/b")
    expect(edited.dialog("Leave")).to_contain_text(f"{key}/a")
    keep(edited)
    expect(edited.value).to_have_value('"mine"')

    WAYS[way](edited, f"{key}/b")
    edited.leave()
    expect(edited.value).to_have_value('"b"')
    expect(edited.key).to_have_value(f"{key}/b")
    assert (held(client, f"{key}/a"), held(client, f"{key}/b")) == ('"a"', '"b"')


def test_new_takes_the_place_of_an_edit_only_when_that_may_go(edited: Console, client: Client, key: str) -> None:
    """The answer "Keep editing" leaves all as it is, to be saved over what was read; "Leave" empties the editor."""
    edited.press("New")
    keep(edited)
    edited.save()
    assert held(client, f"{key}/a") == '"mine"'

    edited.value.fill('"more"')
    edited.press("New")
    edited.leave()
    expect(edited.key).to_be_focused()
    for field in (edited.key, edited.value):
        expect(field).to_have_value("")


def test_a_file_takes_the_place_of_an_edit_only_when_that_may_go(edited: Console) -> None:
    """A file that was chosen by mistake does not cost what was typed."""
    edited.file.set_input_files(FILE)
    keep(edited)
    expect(edited.value).to_have_value('"mine"')
    edited.file.set_input_files(FILE)
    edited.leave()
    expect(edited.value).to_have_value("from a file")


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_was_changed_is_asked_about(console: Console, client: Client, key: str, edit: str) -> None:
    """Text, media type, time to live and a file are all that can be lost; for what was only looked at, nobody is asked."""
    client.put(key, "a")
    console.get(key)
    expect(console.value).to_have_value('"a"')
    assert not console.page.evaluate(HELD_BY_THE_BROWSER)
    EDITS[edit](console)
    console.press("New")
    keep(console)
    assert console.page.evaluate(HELD_BY_THE_BROWSER)


def test_the_browser_asks_only_while_there_is_something_to_lose(edited: Console) -> None:
    """A page that is left is held back by an edit, and by nothing once that is saved, taken back or given up."""
    page = edited.page
    assert page.evaluate(HELD_BY_THE_BROWSER)
    edited.press("As it was")
    assert not page.evaluate(HELD_BY_THE_BROWSER)
    edited.value.fill('"mine"')
    assert page.evaluate(HELD_BY_THE_BROWSER)
    edited.save()
    assert not page.evaluate(HELD_BY_THE_BROWSER)
    edited.value.fill('"more"')
    edited.press("New")
    edited.leave()
    expect(edited.value).to_have_value("")
    assert not page.evaluate(HELD_BY_THE_BROWSER)


def test_an_edit_outlives_a_look_at_another_view(edited: Console, client: Client, key: str) -> None:
    """Who looks at the other views finds the text, its key and its version as they were, and can save it."""
    for view in VIEWS:
        edited.page.get_by_role("navigation").get_by_role("link", name=view, exact=True).click()
        expect(edited.page.get_by_role("heading", level=1, name=view, exact=True)).to_be_visible()
    edited.page.go_back()
    edited.open("Keys")
    expect(edited.value).to_have_value('"mine"')
    edited.save()
    assert held(client, f"{key}/a") == '"mine"'


def test_what_is_typed_while_a_key_is_read_is_not_lost_to_it(console: Console, client: Client, key: str) -> None:
    """An answer that takes its time asks too, before it is shown over what was typed meanwhile."""
    client.put(key, "a")
    console.key.fill(key)
    with console.without_answers(f"/kv/{quote(key, safe='')}"):
        console.press("Get")
        console.value.fill('"mine"')
    keep(console)
    expect(console.value).to_have_value('"mine"')


def test_a_question_never_takes_the_place_of_another(console: Console) -> None:
    """Who is asked whether to delete does not find that this button has come to mean something else: the second is answered with no."""
    assert console.page.evaluate(ASKED_TWICE, console.module("question.js")) is False
    expect(console.dialog("Delete")).to_contain_text("Delete it?")


def test_what_is_typed_while_a_key_is_saved_is_still_to_be_saved(console: Console, client: Client, key: str) -> None:
    """Only what was sent is taken for saved."""
    console.key.fill(key)
    console.value.fill('"sent"')
    with console.without_answers(f"/kv/{quote(key, safe='')}"):
        console.press("Save")
        console.value.fill('"and more"')
    expect(console.told).to_contain_text("Saved")
    console.press("New")
    keep(console)
    console.save()
    assert held(client, key) == '"and more"'


def test_a_key_that_was_not_read_is_not_overwritten_unseen(edited: Console, client: Client, key: str) -> None:
    """Saved under another name, a value makes a key or is refused; what is there is shown, and overwritten only when that is meant."""
    edited.watch.expect("412 PUT /kv")
    edited.only_if_unchanged.uncheck()
    edited.key.fill(f"{key}/b")
    expect(edited.only_if_unchanged).to_be_checked()
    expect(edited.editor).to_contain_text("saves only if it does not exist yet")
    edited.press("Save")
    expect(edited.alert).to_contain_text("This key exists already")
    expect(edited.alert).to_contain_text('"b"')
    assert held(client, f"{key}/b") == '"b"'

    edited.only_if_unchanged.uncheck()
    edited.save()
    assert (held(client, f"{key}/a"), held(client, f"{key}/b")) == ('"a"', '"mine"')


def test_what_was_typed_for_a_new_key_stays_when_there_is_no_such_key(
    console: Console, client: Client, key: str
) -> None:
    """Who looks first whether it exists need not type again."""
    console.watch.expect("404 GET /kv")
    console.value.fill('"mine"')
    console.ttl.fill("3600")
    console.get(key)
    expect(console.told).to_contain_text("There is no key")
    expect(console.ttl).to_have_value("3600")
    console.save()
    assert held(client, key) == '"mine"'


def test_a_copy_is_made_under_a_name_that_is_free(edited: Console, client: Client, key: str) -> None:
    """The name of another key over an edit makes that key, and leaves the first as it was."""
    edited.key.fill(f"{key}/c")
    edited.save()
    assert (held(client, f"{key}/a"), held(client, f"{key}/c")) == ('"a"', '"mine"')


def test_an_old_error_goes_when_a_new_action_begins(console: Console, key: str) -> None:
    """It is gone while the next answer is awaited, and also where the browser asks for nothing since a field is not valid."""
    console.watch.expect("400 PUT /kv")
    console.key.fill(key)
    console.value.fill("{oops")
    console.press("Save")
    expect(console.alert).to_be_visible()
    with console.without_answers(f"/kv/{quote(key, safe='')}"):
        console.press("Save")
        expect(console.alert).to_have_count(0)
    expect(console.alert).to_be_visible()
    console.ttl.fill("0")
    console.press("Save")
    expect(console.alert).to_have_count(0)
