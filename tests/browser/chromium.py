"""Debian's Chromium, so that it asks nobody but the node for anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from kvcore.testing.fixtures import required
from kvcore.testing.servers.group import find_executable

__all__ = ("running_chromium",)

_FLAGS: Final = (
    "--no-sandbox",  # which root cannot have; the pages are ours
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Whatever a page or the browser itself asks of another machine, it does not get there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start it with an empty profile, and end it afterwards; without one the test is skipped, or fails where CI is set."""
    executable = required(lambda: find_executable("chromium", package="chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
