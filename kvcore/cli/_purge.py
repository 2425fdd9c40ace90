"""The command that makes the store forget what it need not remember: `purge`."""

from __future__ import annotations

from kvcore.cli._connection import TokenFile, Url, connected
from kvcore.cli._output import AsJson, Progress, show
from kvcore.environment import LOCAL_URL

__all__ = ("purge",)


def purge(url: Url = LOCAL_URL, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Make the store forget what is long deleted or expired.

    Prints how much that was. Nodes do this by themselves, every store.purge_interval_s. No key that exists is touched, and
    nothing that was deleted less than store.tombstone_retention_s ago. The token needs the scope admin.

    \b
    kvctl purge
    """
    with connected(url, token_file) as client, Progress("removed") as progress:
        removed = client.admin.purge(progress.at)
    show({"removed": removed}, f"removed {removed}", as_json=as_json)
