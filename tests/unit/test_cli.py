"""kvctl as a whole: its start, its exit codes, its output streams, and the commands that plugins add."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from kvcore import __version__, plugins
from kvcore.cli import _app
from kvcore.cli._app import Root, app, plugin_commands
from kvcore.errors import KvcoreError, PluginError
from kvcore.hookspecs import hookimpl

HEAVY = ("litestar", "uvicorn", "uvloop", "httpx", "apsw", "prometheus_client")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run kvctl in a process of its own, without the settings of the tests' environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KVCORE_")} | variables
    return subprocess.run(
        [sys.executable, "-m", "kvcore.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def loaded_by(*arguments: str) -> set[str]:
    """Return the top-level modules that a run of kvctl imports."""
    code = (
        "import sys\nfrom kvcore.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


def every_command() -> Iterator[tuple[str, Any]]:
    """Give each command of kvctl itself, with its path."""

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            for name, child in inner.items():
                yield from walk(f"{path} {name}".strip(), child)

    yield from walk("", get_command(app))


COMMANDS = dict(every_command())


def test_the_version_is_printed_as_text_and_as_json() -> None:
    """`kvctl version` prints the version of the package, and with --json one JSON document."""
    assert CliRunner().invoke(app, ["version"]).stdout == f"kvcore {__version__}\n"
    assert json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout) == {"version": __version__}


def test_version_loads_neither_server_nor_client_nor_driver() -> None:
    """`kvctl version` starts fast: nothing heavy is imported, and no plugin is loaded."""
    assert not loaded_by("version") & {*HEAVY, "pluggy"}


def test_help_loads_neither_server_nor_client() -> None:
    """`kvctl --help` loads the plugins, for their commands, and still nothing of the server or the client."""
    assert not loaded_by("--help") & {"litestar", "uvicorn", "uvloop", "httpx"}


@pytest.mark.parametrize("path", COMMANDS)
def test_no_command_is_a_coroutine_function(path: str) -> None:
    """A command is a plain function: Typer would never await a coroutine, and exit 0 all the same."""
    assert not inspect.iscoroutinefunction(inspect.unwrap(COMMANDS[path].callback))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself_with_an_example(path: str) -> None:
    """The help of each command says what it does, and shows it, so that nobody has to look elsewhere."""
    help_text = CliRunner().invoke(app, [*path.split(), "--help"]).stdout
    assert len(COMMANDS[path].help.split()) > 4
    assert f"  kvctl {path}" in help_text.partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - {"serve", "worker", "batch"}))
def test_every_command_that_has_a_result_prints_it_as_json_on_request(path: str) -> None:
    """`--json` is there on each command, except on those two that run until they are stopped, and on `batch`, whose results always are."""
    assert any("--json" in parameter.opts for parameter in COMMANDS[path].params)


def test_a_wrong_usage_exits_2_and_says_so_on_stderr() -> None:
    """An unknown command or option is exit code 2, with nothing on stdout."""
    for arguments in (["nonsense"], ["get"], ["version", "--nonsense"], ["config", "show", "--set", "no-equals-sign"]):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert "Error" in result.stderr


def test_what_kvcore_refuses_is_one_line_and_exit_code_1() -> None:
    """An error of kvcore is shown as one line on stderr, without a traceback."""
    done = run("config", "check", "--set", "http.port=many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kvctl: http.port: ")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_exits_130_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a command ends it with 130, as the shell expects, and nothing else is said."""

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    command = get_command(app)
    assert isinstance(command, Root)
    monkeypatch.setattr(command.commands["version"], "callback", interrupted)
    with pytest.raises(SystemExit) as ended:
        command.main(["version"])
    assert ended.value.code == 128 + signal.SIGINT


def test_no_color_leaves_the_output_plain() -> None:
    """With NO_COLOR, and without, output holds no escape sequence where it is not a terminal."""
    for variables in ({"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, {}):
        done = run("--help", **variables)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    """`kvctl config show | head -1` ends quietly when head has seen enough."""
    command = f"{sys.executable} -m kvcore.cli config show --profile memory | head -1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert "Traceback" not in done.stderr


class Greeting:
    """A plugin that adds `kvctl greeting hello`."""

    def __init__(self, name: str = "greeting") -> None:
        self.name = name

    @hookimpl
    def kvcore_commands(self) -> Iterable[typer.Typer]:
        """Give one group of one command."""
        group = typer.Typer(name=self.name, help="Greet.")

        @group.command()
        def hello() -> None:
            """Say hello."""
            typer.echo("hello from a plugin")

        return [group]


class Failing:
    """A plugin whose commands cannot be made."""

    @hookimpl
    def kvcore_commands(self) -> Iterable[typer.Typer]:
        """Fail."""
        raise RuntimeError("no commands today")


def implementations(*given: object) -> list[Any]:
    """Return what these plugins, named by their place, implement of `kvcore_commands`."""
    extra = [(f"plugin-{place}", plugin) for place, plugin in enumerate(given)]
    found: list[Any] = plugins.load_plugins([], extra=extra).hook.kvcore_commands.get_hookimpls()
    return found


def test_a_plugin_adds_a_group_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin gives is listed in the help and can be run."""
    loaded = plugins.load_plugins([], extra=[("greeting", Greeting())])
    monkeypatch.setattr(plugins, "load_plugins", lambda: loaded)
    runner = CliRunner()
    assert "greeting" in runner.invoke(app, ["--help"]).stdout
    assert runner.invoke(app, ["greeting", "hello"]).stdout == "hello from a plugin\n"


@pytest.mark.parametrize("plugins_given", [[Greeting("serve")], [Greeting(), Greeting()]], ids=["own", "another"])
def test_a_name_that_is_there_already_is_refused(plugins_given: list[object]) -> None:
    """Two commands of one name are a start-up error that names the plugin, whoever had the name first."""
    with pytest.raises(PluginError, match=r"plugin-\d.*(serve|greeting)"):
        plugin_commands(implementations(*plugins_given), taken={"serve"})


def test_a_plugin_that_cannot_give_its_commands_is_named() -> None:
    """An exception of a plugin becomes an error that names the plugin and the reason."""
    with pytest.raises(PluginError, match=r"plugin-0.*no commands today"):
        plugin_commands(implementations(Failing()), taken=set())


def test_a_broken_plugin_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that cannot be imported breaks no command; `kvctl plugins` tells its name and why."""
    point = EntryPoint("broken", "kvcore_that_is_not_there", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    runner = CliRunner()
    assert runner.invoke(app, ["--help"]).exit_code == 0
    result = runner.invoke(app, ["plugins", "--json"])
    [broken] = json.loads(result.stdout)["broken"]
    assert broken["name"] == "broken"
    assert "ModuleNotFoundError" in broken["reason"]
    assert "could not be loaded" in result.stderr


def test_the_list_of_plugins_tells_what_their_backends_can_do() -> None:
    """`kvctl plugins` lists each installed backend, by kind and name, with its abilities."""
    result = CliRunner().invoke(app, ["plugins", "--json"])
    found = {
        (backend["kind"], backend["name"]): backend["abilities"]
        for plugin in json.loads(result.stdout)["plugins"]
        for backend in plugin["backends"]
    }
    assert found["store", "sqlite"] == ["durable", "idempotency", "listing"]
    assert "store sqlite" in CliRunner().invoke(app, ["plugins"]).stdout


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what kvcore refuses on purpose becomes one line: a fault of ours keeps its traceback."""

    def faulty(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    assert not issubclass(ZeroDivisionError, KvcoreError)
    monkeypatch.setattr(_app, "show", faulty)
    assert isinstance(CliRunner().invoke(app, ["version"]).exception, ZeroDivisionError)
