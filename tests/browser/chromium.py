"""Debian's Chromium, so that it asks nobody but the node for anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from kvcore.testing.servers import MissingServerError
from kvcore.testing.servers.group import find_executable

__all__ = ("do_without", "running_chromium")

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
    try:
        executable = find_executable("chromium", package="chromium")
    except MissingServerError as error:
        do_without(str(error))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def do_without(reason: str) -> NoReturn:
    """Skip what cannot be tested on this machine, and fail where everything has to be."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)  # the caller's message says what to install
