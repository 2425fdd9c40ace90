"""The commands about the cache: `cache stats` and `cache clear`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kvcore.cli._connection import TokenFile, Url, connected
from kvcore.cli._consent import Yes, ask
from kvcore.cli._output import AsJson, show, table
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.client import CacheStats

__all__ = ("app",)

app = typer.Typer(name="cache", help="Look at the cache, or clear it.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def stats(url: Url = LOCAL_URL, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Print how much is in the cache, and how often it had what was read: of all nodes, and of this one.

    \b
    kvctl cache stats
    kvctl cache stats --json | jq .hit_rate
    """
    with connected(url, token_file) as client:
        found = client.cache_stats()
    show(found, _text(found), as_json=as_json)


@app.command()
def clear(url: Url = LOCAL_URL, token_file: TokenFile = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Clear the cache, for all nodes that share it. Nothing is lost, but until it is full again reads ask the store.

    Asks first; without a terminal it refuses unless --yes is given. The token needs the scope admin.

    \b
    kvctl cache clear
    kvctl cache clear --yes
    """
    ask(f"Clear the cache of {url}, so that every read asks the store until it is full again?", yes=yes)
    with connected(url, token_file) as client:
        client.admin.clear_cache()
    show({"detail": "cleared"}, "cleared", as_json=as_json)


def _text(found: CacheStats) -> str:
    return table(
        [
            ("keys", _of(found.keys_count, found.max_keys_limit)),
            ("bytes", _of(found.memory_used_bytes, found.max_memory_bytes)),
            ("evictions", f"{found.evictions:,}"),
            ("hits, all nodes", _hits(found.cache_hits, found.cache_misses, found.hit_rate)),
            ("hits, this node", _hits(found.node.cache_hits, found.node.cache_misses, found.node.hit_rate)),
        ]
    )


def _of(used: int, limit: int | None) -> str:
    return f"{used:,} of {limit:,}" if limit is not None else f"{used:,}"


def _hits(hits: int, misses: int, rate: float) -> str:
    reads = hits + misses
    return f"{rate:g} % ({hits:,} of {reads:,} reads)" if reads else "no reads yet"
