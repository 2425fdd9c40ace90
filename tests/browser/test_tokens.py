"""Tokens in the console: asked for when needed, kept for the tab, and shown to nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import expect

from kvcore.testing.nodes import NodeProcess, running_node
from kvcore.tokens import digest_of, new_token
from tests.browser.console import Console, Opened

READER, ADMIN = new_token(), new_token()
SCOPES = {READER: ["read"], ADMIN: ["read", "write", "admin"]}
EVERYTHING_KEPT = """async () => JSON.stringify([
    {...localStorage}, document.cookie, document.documentElement.outerHTML, location.href, history.state, window.name,
    await indexedDB.databases(), await caches.keys(),
])"""


class Guarded(NamedTuple):
    """A console that has asked for a token, and was given none yet."""

    console: Console
    node: NodeProcess

    def give(self, token: str) -> None:
        """Enter a token into the dialog."""
        dialog = self.console.dialog("Token")
        dialog.get_by_label("Token", exact=True).fill(token)
        dialog.get_by_role("button", name="Use token").click()


@pytest.fixture(scope="module")
def guarded_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Give a node that knows two tokens."""
    file: Path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    entries = (
        f'[[tokens]]\nname = "{scopes[-1]}"\nsha256 = "{digest_of(token).hex()}"\nscopes = {scopes}\n'
        for token, scopes in SCOPES.items()
    )
    file.write_text("\n".join(entries), encoding="utf-8")
    with running_node({"profile": "memory", "auth.file": str(file)}) as node:
        yield node


@pytest.fixture
def guarded(opened: Opened, guarded_node: NodeProcess) -> Guarded:
    """Give a console whose dialog stands open, since it has got a 401."""
    console = opened(guarded_node.url, "Keys", "401 GET /keys")
    expect(console.dialog("Token")).to_be_visible()
    return Guarded(console, guarded_node)


def test_a_wrong_token_is_told_in_the_dialog(guarded: Guarded) -> None:
    """It stays open until a token is known."""
    guarded.console.watch.expect("401 GET /cache/stats")
    guarded.give("wrong")
    dialog = guarded.console.dialog("Token")
    expect(dialog.get_by_role("alert")).to_contain_text("does not know this token")
    guarded.give(ADMIN)
    expect(dialog).to_be_hidden()


def test_a_right_token_lets_in(guarded: Guarded) -> None:
    """With it a key can be written and listed."""
    guarded.give(ADMIN)
    console = guarded.console
    expect(console.dialog("Token")).to_be_hidden()
    console.key.fill("tokens/a")
    console.value.fill("1")
    console.save()
    console.list_keys("tokens/")
    expect(console.listed("tokens/a")).to_be_visible()


def test_a_token_that_does_not_suffice_is_said_kindly(guarded: Guarded) -> None:
    """Who may only read is told so at the attempt to write; what was typed stays, and no token is asked for again."""
    guarded.console.watch.expect("403 PUT /kv")
    guarded.give(READER)
    console = guarded.console
    expect(console.dialog("Token")).to_be_hidden()
    console.key.fill("tokens/b")
    console.value.fill("1")
    console.press("Save")
    expect(console.alert).to_contain_text(re.compile("token", re.IGNORECASE))
    expect(console.value).to_have_value("1")
    expect(console.dialog("Token")).to_be_hidden()


def test_a_token_stays_for_the_tab_and_nowhere_else(guarded: Guarded) -> None:
    """A reload keeps it; another tab asks for one, and it is in no storage that outlives the tab, no cookie and no address."""
    guarded.give(ADMIN)
    console = guarded.console
    expect(console.dialog("Token")).to_be_hidden()
    console.page.reload()
    console.list_keys("")
    expect(console.listing).to_be_visible()
    expect(console.dialog("Token")).to_be_hidden()

    assert ADMIN not in str(console.page.evaluate(EVERYTHING_KEPT))
    state: Any = console.page.context.storage_state(indexed_db=True)
    assert ADMIN not in str(state)
    assert not [request.url for request in console.watch.requested if ADMIN in request.url]

    other = Console(console.page.context.new_page(), console.watch, guarded.node.url)
    other.open()
    expect(other.dialog("Token")).to_be_visible()


def test_a_token_is_forgotten_when_asked(guarded: Guarded) -> None:
    """After "Forget token" the node asks for one again."""
    guarded.give(ADMIN)
    console = guarded.console
    dialog = console.dialog("Token")
    expect(dialog).to_be_hidden()
    console.press("Token")
    dialog.get_by_role("button", name="Forget token").click()
    assert ADMIN not in console.page.evaluate("JSON.stringify({...sessionStorage})")
    console.page.reload()
    expect(dialog).to_be_visible()


def test_the_field_of_the_token_does_not_show_it(guarded: Guarded) -> None:
    """It is a password field, and the browser is not asked to keep it."""
    field = guarded.console.dialog("Token").get_by_label("Token", exact=True)
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", re.compile("off|new-password|one-time-code"))
