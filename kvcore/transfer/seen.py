"""Which keys were read before, of any number, in bounded memory."""

from __future__ import annotations

import sqlite3
from typing import Final

from kvcore.errors import SettingsError

__all__ = ("Seen",)

_SETTINGS: Final = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;"
_TABLE: Final = "CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN;"


class Seen:
    """Remembers keys, in a file that has no name: SQLite makes it in the folder for temporary files when it is needed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SETTINGS + _TABLE)
        self._cursor = self._database.cursor()

    def is_new(self, key: str) -> bool:
        """Tell whether a key was not asked for before.

        Raises:
            SettingsError: the folder has no room for it.
        """
        try:
            self._cursor.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,))
        except sqlite3.OperationalError as error:
            raise SettingsError(
                f"the keys of the file do not fit into the folder for temporary files: {error}; name another with TMPDIR"
            ) from None
        return self._cursor.rowcount == 1

    def close(self) -> None:
        """Forget all of them."""
        self._database.close()
