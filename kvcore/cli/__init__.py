"""kvctl, the command line of kvcore.

Importing this must stay cheap: a command imports what it needs when it runs, so that `kvctl --help` and `kvctl version`
load neither the HTTP server nor a driver.
"""

from __future__ import annotations

from kvcore.cli._app import app

__all__ = ("main",)


def main() -> None:
    """Run `kvctl`: what the console script calls."""
    app(prog_name="kvctl")
