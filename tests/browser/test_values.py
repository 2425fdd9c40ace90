"""Values in the console: whatever bytes they are, they stay so unless somebody changes them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from kvcore.client import Client
from tests.browser.console import Console

JSON = '{ "b":1.0, "a" : 1e3,\n\t"big":12345678901234567890, "\\u00e9": "é\\n",  "twice": [ ] }'
UNSHOWABLE = {
    "not UTF-8": (b"\xff\xfe\x00\x01", "image/png"),
    "a byte order mark": (b"\xef\xbb\xbfa", "text/plain"),
    "CRLF": (b"a\r\nb\rc\n", "text/plain"),
    "NUL": (b"a\x00b", "text/plain"),
    "text that says that it is none": (b"abc", "application/octet-stream"),
    "a line feed first": (b"\n\na", "text/plain"),
}


def data(client: Client, key: str) -> tuple[bytes, str]:
    """Return a key's value and media type."""
    found = client.get(key)
    assert found is not None
    return found.data, found.media_type


def test_json_is_kept_byte_for_byte_around_an_edit(console: Console, client: Client, key: str) -> None:
    """Nothing but what was changed changes: spaces, numbers, escapes and the order of members stay."""
    client.put(key, JSON.encode(), media_type="application/json")
    console.get(key)
    expect(console.value).to_have_value(JSON)
    console.value.fill(JSON.replace("[ ]", "[ 1 ]"))
    console.save()
    assert data(client, key) == (JSON.replace("[ ]", "[ 1 ]").encode(), "application/json")


def test_what_is_not_json_is_refused_with_a_reason(console: Console, client: Client, key: str) -> None:
    """A slip in JSON is told, what was typed stays, and nothing is written."""
    console.watch.expect("400 PUT /kv")
    console.key.fill(key)
    console.value.fill("{oops")
    console.press("Save")
    expect(console.alert).to_contain_text(re.compile("JSON"))
    expect(console.value).to_have_value("{oops")
    assert client.get(key) is None


@pytest.mark.parametrize(("held", "media_type"), UNSHOWABLE.values(), ids=UNSHOWABLE)
def test_looking_at_a_value_and_saving_another_does_not_change_it(
    console: Console, client: Client, key: str, held: bytes, media_type: str
) -> None:
    """Bytes that a text field cannot hold are as they were after they have been shown, and something else was written."""
    client.put(f"{key}/a", held, media_type=media_type)
    client.put(f"{key}/b", 1)
    console.get(f"{key}/a")
    expect(console.fact("Size")).to_contain_text(str(len(held)))
    console.get(f"{key}/b")
    expect(console.value).to_have_value("1")
    console.value.fill("2")
    console.save()
    assert data(client, f"{key}/a") == (held, media_type)
    assert data(client, f"{key}/b") == (b"2", "application/json")


@pytest.mark.parametrize(("held", "media_type"), UNSHOWABLE.values(), ids=UNSHOWABLE)
def test_a_new_time_to_live_does_not_change_the_value(
    console: Console, client: Client, key: str, held: bytes, media_type: str
) -> None:
    """A value that nobody edited is saved with the bytes that it had."""
    client.put(key, held, media_type=media_type)
    console.get(key)
    expect(console.fact("Size")).to_contain_text(str(len(held)))
    console.ttl.fill("3600")
    console.save()
    found = client.get(key)
    assert found is not None
    assert found.expires_at is not None
    assert (found.data, found.media_type) == (held, media_type)


def test_an_edit_of_a_text_keeps_what_the_field_cannot_show(console: Console, client: Client, key: str) -> None:
    """A byte order mark and line ends of Windows stay around a word that was changed."""
    client.put(key, b"\xef\xbb\xbfone\r\ntwo\r\n", media_type="text/plain")
    console.get(key)
    expect(console.value).to_have_value(re.compile("two"))
    console.value.fill(console.value.input_value().replace("two", "three"))
    console.save()
    assert data(client, key) == (b"\xef\xbb\xbfone\r\nthree\r\n", "text/plain")


def test_text_of_another_media_type_is_saved_as_it_is_typed(console: Console, client: Client, key: str) -> None:
    """With a media type that is not JSON's nothing is added to the text, and nothing taken from it."""
    console.key.fill(key)
    console.media_type.fill("text/markdown; charset=utf-8")
    console.value.fill("# Grüße 🔑\n{oops")
    console.save()
    assert data(client, key) == ("# Grüße 🔑\n{oops".encode(), "text/markdown; charset=utf-8")
