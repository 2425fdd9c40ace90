"""The console as a person finds her way in it: by what things are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Protocol

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.watching import Watch

__all__ = ("VIEWS", "Console", "Opened", "View")

View = Literal["Keys", "Live", "Health", "Dead letters", "Configuration"]
VIEWS: Final[dict[View, str]] = {
    "Keys": "keys",
    "Live": "live",
    "Health": "health",
    "Dead letters": "dead-letters",
    "Configuration": "configuration",
}
"""The name of each view, and what its address ends with."""

_FURTHEST: Final = 80
"""More presses of Tab than there are places to go to on a page."""


class Console:
    """A tab with the console; its attributes are the parts that tests touch."""

    def __init__(self, page: Page, watch: Watch, url: str) -> None:
        self.page = page
        self.watch = watch
        self._url = url
        self.status = page.locator("#node-status")
        self.told = page.locator("#told")
        self.alert = page.get_by_role("alert").filter(visible=True)
        self.listing = page.get_by_role("table", name="Keys", exact=True)
        self.prefix = page.get_by_role("searchbox", name="Prefix")
        editor = page.get_by_role("region", name="Key", exact=True)
        self.key = editor.get_by_role("textbox", name="Key", exact=True)
        self.value = editor.get_by_role("textbox", name="Value")
        self.media_type = editor.get_by_label("Media type", exact=True)
        self.ttl = editor.get_by_role("spinbutton", name="TTL (seconds)")
        self.file = editor.get_by_label("Take a file")
        self.only_if_unchanged = editor.get_by_role("checkbox", name="Only if unchanged")
        self.editor = editor

    def open(self, view: View = "Keys") -> None:
        """Go to a view by its address."""
        self.page.goto(f"{self._url}/#{VIEWS[view]}")

    @contextmanager
    def without_answers(self, path: str) -> Iterator[None]:
        """Let what the page asks for at a path wait, and be answered in the end."""
        waiting: list[Route] = []
        url = f"{self._url}{path}"
        self.page.route(url, lambda route: waiting.append(route))  # not a method of C, which Playwright would mark
        yield
        for route in waiting:
            route.continue_()
        self.page.unroute(url)

    def press(self, name: str) -> None:
        """Press the button of a name."""
        self.button(name).click()

    def save(self) -> None:
        """Press "Save", and wait until it is said to be done."""
        self.press("Save")
        expect(self.told).to_contain_text("Saved")

    def delete(self) -> None:
        """Press "Delete", and say once more that it is meant."""
        self.press("Delete")
        self.dialog("Delete").get_by_role("button", name="Delete", exact=True).click()

    def leave(self) -> None:
        """Say that what is not saved may go."""
        self.dialog("Leave").get_by_role("button", name="Leave", exact=True).click()

    def button(self, name: str) -> Locator:
        """Return the button of a name; one that lies behind an open dialog is found too."""
        return self.page.get_by_role("button", name=name, exact=True)

    def dialog(self, name: str) -> Locator:
        """Return the dialog of a name."""
        return self.page.get_by_role("dialog", name=name, exact=True)

    def list_keys(self, prefix: str) -> None:
        """List the keys that begin with a prefix."""
        self.prefix.fill(prefix)
        self.press("List")

    def listed(self, key: str) -> Locator:
        """Return the button of a key in the list."""
        return self.listing.get_by_role("button", name=key, exact=True)

    def line(self, key: str) -> Locator:
        """Return the line of a key in the list."""
        return self.listing.get_by_role("row").filter(has=self.button(key))

    def get(self, key: str) -> None:
        """Ask for a key by its name."""
        self.key.fill(key)
        self.press("Get")

    def fact(self, name: str, *, of: Locator | None = None) -> Locator:
        """Return what the editor, or another part of the page, says of something: of the "Version" or "Size" of a key, say."""
        term = self.page.get_by_text(name, exact=True).and_(self.page.locator("dt"))
        return (of or self.editor).locator("div", has=term).locator("dd")

    def module(self, name: str) -> str:
        """Return the address of one of the page's scripts."""
        main = self.page.locator("script").get_attribute("src")
        assert main is not None
        return main.replace("main.js", name)

    def tab_to(self, goal: Locator) -> None:
        """Press Tab until something has the focus."""
        for _ in range(_FURTHEST):
            if goal.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        expect(goal).to_be_focused()


class Opened(Protocol):
    """Opens a view of a node's console in a new profile with Playwright's `options`, and expects failures as `Watch.expect` does."""

    def __call__(self, url: str, view: View = "Keys", *expected: str, **options: Any) -> Console: ...
