"""What there is to set: `[store.sqlite]`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ("SqliteSettings",)


class SqliteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the store "sqlite"."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="The database file, on a local disk. It is made, with its folder, where there is none.",
        ),
    ] = "data/kvcore.db"
