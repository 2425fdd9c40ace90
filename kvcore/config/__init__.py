"""Where settings come from: one value for each of them, out of four layers, each over the one before.

1. The defaults in `kvcore.settings` and in the plugins.
2. The profile, then the TOML file.
3. The environment (`KVCORE_STORE__SQLITE__PATH` is `store.sqlite.path`).
4. Flags.

Every value is checked on its own, so that a refusal names the setting's path and the layer that the value came from.
Names that do not exist are refused everywhere.

A setting that is a `Secret` has a twin, with `_file` at the end of its name: the file to read it from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kvcore.config._combinations import refuse_combinations, refuse_wrong_networks
from kvcore.config._layers import merged
from kvcore.config._resolved import Resolved, build
from kvcore.config._schema import Setting, describe, schema_of
from kvcore.config._values import checked
from kvcore.plugins import Plugins

__all__ = ("Resolved", "Setting", "describe", "resolve")


def resolve(
    plugins: Plugins,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Resolved:
    """Put the layers together and check the result.

    `file` None: the file that `KVCORE_CONFIG` names, or else `kvcore.toml` in the current folder where there is one.
    `flags` maps paths, such as "http.port", to text.

    Raises:
        SettingsError: with the path and the source of what is wrong.
        PluginError: a backend that is chosen is not there.
    """
    schema = schema_of(plugins)
    values = merged(file, os.environ if environment is None else environment, flags or {})
    tree, sources = checked(schema, values)
    resolved = build(plugins, tree, sources)
    refuse_wrong_networks(resolved)
    refuse_combinations(plugins, resolved)
    return resolved
