"""The environment variables of kvcore by name, and where a client finds a node when none of them says it."""

from __future__ import annotations

from typing import Final

__all__ = ("CONFIG_VARIABLE", "LOCAL_URL", "NOT_SETTINGS", "SETTING_PREFIX", "TOKEN_VARIABLE", "URL_VARIABLE")

SETTING_PREFIX: Final = "KVCORE_"
"""What those that are settings begin with: `KVCORE_STORE__SQLITE__PATH` is `store.sqlite.path`."""
CONFIG_VARIABLE: Final = "KVCORE_CONFIG"
"""The configuration file of a node or worker."""
URL_VARIABLE: Final = "KVCORE_URL"
"""Where `kvctl` finds a node."""
TOKEN_VARIABLE: Final = "KVCORE_TOKEN"  # noqa: S105 - the name of a variable, not a token
"""The token that `kvctl` sends."""
NOT_SETTINGS: Final = (CONFIG_VARIABLE, URL_VARIABLE, TOKEN_VARIABLE)

LOCAL_URL: Final = "http://127.0.0.1:8000"
"""Of a node on this machine that listens where a node listens by default."""
