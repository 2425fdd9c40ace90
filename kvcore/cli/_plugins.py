"""`kvctl plugins`: what is installed, what it can do, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvcore.cli._output import AsJson, note, show, table

if TYPE_CHECKING:
    from kvcore.plugins import Plugins

__all__ = ("plugins",)


def plugins(as_json: AsJson = False) -> None:
    """List the plugins that are installed: what they give, what their backends can do, and which are broken, and why.

    \b
    kvctl plugins
    kvctl plugins --json | jq '.broken'
    """
    from kvcore.plugins import load_plugins

    loaded = load_plugins()
    found = listing(loaded)
    broken = [{"name": one.name, "distribution": one.distribution, "reason": one.reason} for one in loaded.broken]
    show({"plugins": found, "broken": broken}, _text(found), as_json=as_json)
    for one in loaded.broken:
        note(f"the plugin {one.name!r} ({one.distribution}) could not be loaded: {one.reason}")


def listing(loaded: Plugins) -> list[dict[str, Any]]:
    """Return each loaded plugin with its backends and with the other hooks that it implements."""
    from kvcore.plugins import KINDS

    hooks = {name: caller for name, caller in vars(loaded.hook).items() if name.startswith("kvcore_")}
    implementers = {
        name: {implementation.plugin_name: implementation for implementation in caller.get_hookimpls()}
        for name, caller in hooks.items()
    }
    return [
        {
            "name": plugin,
            "distribution": distribution,
            "backends": [
                {"kind": kind, "name": factory.name, "abilities": sorted(factory.abilities)}
                for kind in KINDS
                if plugin in implementers[f"kvcore_{kind}s"]
                for factory in implementers[f"kvcore_{kind}s"][plugin].function()
            ],
            "hooks": sorted(name for name, given in implementers.items() if plugin in given),
        }
        for plugin, distribution in sorted(loaded.loaded.items())
    ]


def _text(found: list[dict[str, Any]]) -> str:
    rows = [("PLUGIN", "DISTRIBUTION", "GIVES", "ABILITIES")]
    for plugin in found:
        for backend in plugin["backends"]:
            gives = f"{backend['kind']} {backend['name']}"
            rows.append((plugin["name"], plugin["distribution"], gives, ", ".join(backend["abilities"]) or "-"))
        rows += [
            (plugin["name"], plugin["distribution"], hook.removeprefix("kvcore_"), "-")
            for hook in plugin["hooks"]
            if hook not in ("kvcore_caches", "kvcore_queues", "kvcore_stores")
        ]
    return table(rows)
