"""The tree of commands: those of kvcore, and those that plugins give."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from kvcore.cli import (
    _batch,
    _cache,
    _config,
    _dead_letters,
    _doctor,
    _export,
    _health,
    _import,
    _keys,
    _listing,
    _node,
    _plugins,
    _purge,
    _queue,
    _token,
    _top,
)
from kvcore.cli._output import AsJson, ExitCode, note, show
from kvcore.errors import ConditionFailedError, KvcoreError, PluginError

__all__ = ("app",)


class Root(TyperGroup):
    """The root command.

    Plugins are loaded only where their commands may be meant: for the list of commands, and for a name that kvcore does
    not have. So nothing that a plugin does wrong or slowly touches kvcore's own commands.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; show what kvcore refuses as one line instead of a traceback."""
        try:
            return super().main(*args, **kwargs)
        except KvcoreError as error:
            note(str(error))
            sys.exit(ExitCode.CONDITION_FAILED if isinstance(error, ConditionFailedError) else ExitCode.FAILED)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, those of plugins last."""
        return [*super().list_commands(ctx), *sorted(self._given)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, None where there is none."""
        return super().get_command(ctx, cmd_name) or self._given.get(cmd_name)

    @cached_property
    def _given(self) -> dict[str, TyperGroup]:
        from kvcore.plugins import load_plugins

        return plugin_commands(load_plugins().hook.kvcore_commands.get_hookimpls(), taken=set(self.commands))


def plugin_commands(implementations: list[Any], *, taken: set[str]) -> dict[str, TyperGroup]:
    """Return the command groups that plugins give, by name.

    Raises:
        PluginError: a plugin fails to give its commands, or a name is there already.
    """
    found: dict[str, TyperGroup] = {}
    for implementation in implementations:
        plugin = implementation.plugin_name
        try:
            groups = list(implementation.function() or ())
        except Exception as error:
            raise PluginError(f"the plugin {plugin!r} cannot give its commands: {error}; mend or remove it") from error
        for group in groups:
            name = group.info.name
            if not isinstance(name, str) or name in taken or name in found:
                raise PluginError(f"the plugin {plugin!r} gives a command {name!r}, which is there already; remove one")
            found[name] = get_group(group)
    return found


app = typer.Typer(
    name="kvctl",
    cls=Root,
    help="""Run kvcore, and read and write its keys.

    Results are printed on stdout, everything else on stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the key
    does not exist, 4 the condition does not hold.

    \b
    kvctl serve                          run a node at 127.0.0.1:8000
    kvctl put greeting hello             write a key
    kvctl get greeting                   read it
    kvctl config show                    every setting in force, and where it comes from
    kvctl top                            watch what it does
    kvctl doctor --profile production    look at the servers behind it, and say what is wrong
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
app.command()(_node.serve)
app.command()(_node.worker)
app.command()(_keys.get)
app.command()(_keys.put)
app.command()(_keys.delete)
app.command("list")(_listing.list_keys)
app.command()(_batch.batch)
app.command()(_export.export)
app.command("import")(_import.import_keys)
app.command()(_health.health)
app.command()(_top.top)
app.add_typer(_cache.app)
app.add_typer(_queue.app)
app.add_typer(_dead_letters.app)
app.command()(_purge.purge)
app.command()(_plugins.plugins)
app.command()(_doctor.doctor)
app.add_typer(_doctor.store)
app.add_typer(_config.app)
app.add_typer(_token.app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version of kvcore.

    \b
    kvctl version
    """
    from kvcore import __version__

    show({"version": __version__}, f"kvcore {__version__}", as_json=as_json)
