"""Asking before something is destroyed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ("Yes", "ask")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def ask(question: str, *, yes: bool, about: str = "--yes") -> None:
    """Return if this is wanted: `yes` says so, or a person at a terminal.

    Raises:
        typer.BadParameter: there is nobody to be asked; `about` is the option that asks for it.
        typer.Abort: they say no.
    """
    if yes:
        return
    if not _somebody_is_there():
        raise typer.BadParameter("there is nobody to be asked: add --yes", param_hint=about)
    typer.confirm(question, abort=True, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
