"""kvctl, the command line of kvcore.

Importing this must stay cheap: a command imports what it needs when it runs. So `kvctl version` loads no plugin, and
`kvctl --help` nothing but the plugins, since they may give commands.
"""

from __future__ import annotations

from kvcore.cli._app import app

__all__ = ("main",)


def main() -> None:
    """Run `kvctl`: what the console script calls."""
    app(prog_name="kvctl")
