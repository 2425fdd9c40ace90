"""The scripts that Redis runs, each in a file of its own."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final, NamedTuple

__all__ = ("INSTALL", "MEET", "REFRESH", "RESERVE", "Script")


class Script(NamedTuple):
    """The text of a script, and the digest that Redis knows it by once it has seen it."""

    text: bytes
    digest: str


def _script(*names: str) -> Script:
    """Join files to one script: the last one, after the functions that it needs."""
    text = b"\n".join(resources.files(__package__).joinpath(f"{name}.lua").read_bytes() for name in names)
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


RESERVE: Final = _script("reserve")
INSTALL: Final = _script("put", "install")
REFRESH: Final = _script("put", "refresh")
MEET: Final = _script("meet")
