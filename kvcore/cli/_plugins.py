"""`kvctl plugins`: what is installed, what it can do, and what is broken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvcore.cli._output import AsJson, note, show, table

if TYPE_CHECKING:
    from kvcore.plugins import LoadedPlugin

__all__ = ("plugins",)


def plugins(as_json: AsJson = False) -> None:
    """List the plugins that are installed: what they give, what their backends can do, and which are broken, and why.

    \b
    kvctl plugins
    kvctl plugins --json | jq '.broken'
    """
    import msgspec

    from kvcore.plugins import load_plugins

    loaded = load_plugins()
    found = loaded.listing()
    show(msgspec.to_builtins({"plugins": found, "broken": loaded.broken}), _text(found), as_json=as_json)
    for one in loaded.broken:
        note(f"the plugin {one.name!r} ({one.distribution}) could not be loaded: {one.reason}")


def _text(found: Iterable[LoadedPlugin]) -> str:
    rows = [("PLUGIN", "DISTRIBUTION", "GIVES", "ABILITIES")]
    for plugin in found:
        for backend in plugin.backends:
            gives = f"{backend.kind} {backend.name}"
            rows.append((plugin.name, plugin.distribution, gives, ", ".join(backend.abilities) or "-"))
        rows += [
            (plugin.name, plugin.distribution, hook.removeprefix("kvcore_"), "-")
            for hook in plugin.hooks
            if hook not in ("kvcore_caches", "kvcore_queues", "kvcore_stores")
        ]
    return table(rows)
