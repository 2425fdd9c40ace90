"""`python -m deploy.local`: the whole production topology on this machine, for trying things out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from typer.core import TyperGroup

from deploy.local.control import Command, NotRunningError, RefusedError, Request, ask
from deploy.local.detaching import go_to_background
from deploy.local.following import LOOKS_EVERY_S, LogFollower
from deploy.local.naming import UnknownNameError, chosen
from deploy.local.place import PlaceError, claimed, default_folder, is_in_use
from deploy.local.progress import note, waiting_for
from deploy.local.status import Status
from deploy.local.supervisor import SHOWN, is_coloured, supervise
from kvcore.testing.servers import MissingServerError, ServerError
from kvcore.testing.servers.process import wait_until
from kvcore.testing.servers.process_tree import is_alive, members

_ENDS_WITHIN_S: Final = 30.0
_REFUSALS: Final = (MissingServerError, NotRunningError, PlaceError, RefusedError, ServerError, UnknownNameError)


class Root(TyperGroup):
    """The root command: what is refused is shown without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        try:
            return super().main(*args, **kwargs)
        except _REFUSALS as error:
            note(str(error))
            sys.exit(1)


app = typer.Typer(
    cls=Root,
    help="""Run NGINX, API nodes, workers, Redis with Sentinel, RabbitMQ and a database on this machine, to try things out.

    Everything is on 127.0.0.1 and in one folder. It is open to everybody on this machine, and thrown away at `down`.

    \b
    python -m deploy.local up --detach           start it, and return when it is ready
    python -m deploy.local status                what runs where
    python -m deploy.local kill redis-1          a power cut for one process
    python -m deploy.local restart nodes         a rolling restart
    python -m deploy.local down                  end it, and remove its data
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help=f"Where everything is, one topology in each. Default: {default_folder()}",
        show_default=False,
    ),
]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME...", help="Processes, such as node-1, and kinds, such as nodes; `status` lists both."),
]


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, help="API nodes.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Workers.")] = 2,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of NGINX. Default: a free one.")] = None,
    folder: Folder = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when everything is ready, and leave it running.")
    ] = False,
) -> None:
    """Start everything, and say what runs where.

    Shows the logs of nodes, workers and NGINX then, until Ctrl-C ends everything. All data are thrown away at the end.

    \b
    python -m deploy.local up
    python -m deploy.local up --nodes 5 --port 8080 --detach
    """  # noqa: D301 - \b tells Typer to keep the lines of an example
    place = _place(folder)
    let_go = go_to_background() if detach else None

    def ready(status: Status) -> bool:
        typer.echo(f"\n{status.table()}\n\n{status.places()}\n")
        if let_go is None:
            note("Ctrl-C ends everything, and throws the data away.\n")
            return True
        note(f"To end everything, and throw the data away: {_command('down', folder)}")
        let_go(place / "supervisor.log")
        return False

    raise typer.Exit(supervise(place, nodes=nodes, workers=workers, port=port, ready=ready))


@app.command()
def down(folder: Folder = None) -> None:
    """End everything, and remove all data. What a crash has left is removed too."""
    place = _place(folder)
    try:
        supervisor = members(ask(place, Request("down")))[:1]
    except NotRunningError as error:
        note(str(error))
        if place.exists():
            with claimed(place):
                note("removed what was left of an earlier one")
        return
    with waiting_for("ending all processes, removing their data"):
        wait_until(
            lambda: not is_in_use(place) and not any(map(is_alive, supervisor)),
            within_s=_ENDS_WITHIN_S,
            what="everything has ended",
        )


@app.command()
def status(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what runs where, and how each process is: running, paused, dead (killed), or exited by itself. Exit code 1: nothing runs."""
    found = _status(_place(folder))
    typer.echo(msgspec.json.encode(found) if as_json else f"{found.table()}\n\n{found.places()}")


@app.command()
def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Processes, and kinds. Default: nodes, workers, nginx.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C or the end of everything.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Show what processes have said since the start."""
    place = _place(folder)
    entries = _status(place).processes
    kinds = {entry.kind: [one.name for one in entries if one.kind == entry.kind] for entry in entries}
    files = {entry.name: Path(entry.log) for entry in entries}
    follower = LogFollower({name: files[name] for name in chosen(kinds, names or SHOWN)}, coloured=is_coloured())
    while True:
        for line in follower.lines():
            typer.echo(line)
        if not follow or not is_in_use(place):
            break
        time.sleep(LOOKS_EVERY_S)  # between two looks: a file does not tell of a change


@app.command()
def kill(names: Names, folder: Folder = None) -> None:
    """End processes as a power cut would. They stay dead until they are restarted."""
    _do("kill", names, folder)


@app.command()
def pause(names: Names, folder: Folder = None) -> None:
    """Let processes stand still: their connections stay open, and nothing answers."""
    _do("pause", names, folder)


@app.command()
def resume(names: Names, folder: Folder = None) -> None:
    """Let paused processes go on."""
    _do("resume", names, folder)


@app.command()
def restart(names: Names, folder: Folder = None) -> None:
    """Start dead processes; stop and start running ones, one after the other, each when the one before is ready.

    \b
    python -m deploy.local restart node-1
    python -m deploy.local restart nodes workers
    """  # noqa: D301 - \b tells Typer to keep the lines of an example
    _do("restart", names, folder)


def _place(folder: Path | None) -> Path:
    return default_folder() if folder is None else folder.parent.resolve() / folder.name


def _command(command: str, folder: Path | None) -> str:
    return f"python -m deploy.local {command}" + ("" if folder is None else f" --folder {folder}")


def _status(place: Path) -> Status:
    return msgspec.convert(ask(place, Request("status")), Status)


def _do(command: Command, names: list[str], folder: Path | None) -> None:
    ask(_place(folder), Request(command, tuple(names)), typer.echo)


if __name__ == "__main__":
    app(prog_name="python -m deploy.local")
