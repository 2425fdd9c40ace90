"""Edits on condition: nobody's change is lost unseen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from kvcore.client import Client
from tests.browser.console import Console

LOST = "Somebody else has changed this key"


@pytest.fixture
def lost(console: Console, client: Client, key: str) -> Console:
    """Give an edit that was refused, since another writer came first: "theirs" is there, "mine" is in the field."""
    console.watch.expect("412 PUT /kv")
    client.put(key, "first")
    console.get(key)
    expect(console.value).to_have_value('"first"')
    console.only_if_unchanged.check()
    console.value.fill('"mine"')
    theirs = client.put(key, "theirs")
    console.press("Save")
    expect(console.alert).to_contain_text(LOST)
    expect(console.alert).to_contain_text(theirs.version)
    return console


def held(client: Client, key: str) -> str:
    """Return the text of a key's value."""
    found = client.get(key)
    assert found is not None
    return found.text()


def test_a_conditional_edit_that_nobody_disturbs_is_saved(console: Console, client: Client, key: str) -> None:
    """It can also be followed by another one, on the version that it has made."""
    client.put(key, "first")
    console.get(key)
    expect(console.value).to_have_value('"first"')
    console.only_if_unchanged.check()
    for text in ('"second"', '"third"'):
        console.value.fill(text)
        version = console.fact("Version").inner_text()
        console.press("Save")
        expect(console.fact("Version")).not_to_have_text(version)
        assert held(client, key) == text


def test_an_edit_that_loses_changes_nothing_and_keeps_what_was_typed(lost: Console, client: Client, key: str) -> None:
    """The other's value is in force, and one's own is still in the field."""
    assert held(client, key) == '"theirs"'
    expect(lost.value).to_have_value('"mine"')


def test_who_has_lost_can_look_at_what_the_other_wrote(lost: Console, client: Client, key: str) -> None:
    """The button "Show theirs" brings the value and its version, on which the next conditional edit is made."""
    lost.press("Show theirs")
    lost.leave()
    expect(lost.value).to_have_value('"theirs"')
    expect(lost.alert).to_have_count(0)
    lost.value.fill('"both"')
    lost.save()
    assert held(client, key) == '"both"'


def test_who_has_lost_can_insist(lost: Console, client: Client, key: str) -> None:
    """The button "Overwrite theirs" saves what is in the field."""
    lost.press("Overwrite theirs")
    expect(lost.told).to_contain_text("Saved")
    expect(lost.alert).to_have_count(0)
    assert held(client, key) == '"mine"'


def test_who_insists_overwrites_what_was_told_and_nothing_later(lost: Console, client: Client, key: str) -> None:
    """A third writer who comes before "Overwrite theirs" is told of too, not overwritten unseen."""
    third = client.put(key, "a third's")
    lost.press("Overwrite theirs")
    expect(lost.alert).to_contain_text(third.version)
    assert held(client, key) == '"a third\'s"'


def test_a_key_that_has_appeared_meanwhile_is_not_overwritten(console: Console, client: Client, key: str) -> None:
    """Who makes a key on condition that there is none is told when somebody else has made it."""
    console.watch.expect("404 GET /kv", "412 PUT /kv")
    console.get(key)
    expect(console.told).to_contain_text("There is no key")
    console.only_if_unchanged.check()
    console.value.fill('"mine"')
    theirs = client.put(key, "theirs")
    console.press("Save")
    expect(console.alert).to_contain_text(LOST)
    expect(console.alert).to_contain_text(theirs.version)
    assert held(client, key) == '"theirs"'


def test_a_key_that_nobody_else_has_made_is_created(console: Console, client: Client, key: str) -> None:
    """The same condition lets the first one through."""
    console.watch.expect("404 GET /kv")
    console.get(key)
    expect(console.told).to_contain_text("There is no key")
    console.only_if_unchanged.check()
    console.value.fill('"mine"')
    console.save()
    assert held(client, key) == '"mine"'


def test_a_conditional_delete_that_loses_deletes_nothing(console: Console, client: Client, key: str) -> None:
    """The condition counts for "Delete" too."""
    console.watch.expect("412 DELETE /kv")
    client.put(key, "first")
    console.get(key)
    expect(console.value).to_have_value('"first"')
    console.only_if_unchanged.check()
    theirs = client.put(key, "theirs")
    console.delete()
    expect(console.alert).to_contain_text(theirs.version)
    assert held(client, key) == '"theirs"'
