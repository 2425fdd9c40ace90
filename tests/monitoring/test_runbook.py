"""docs/operations.md names only what there is: settings, metrics, alerts, and commands with their options."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from typer.main import get_command

from kvcore.cli._app import app
from kvcore.config import describe
from kvcore.metrics import Metrics
from kvcore.plugins import load_plugins
from tests.monitoring.monitoring import ROOT, alerts

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "operations.md", ROOT / "deploy" / "monitoring" / "README.md")
}
SETTINGS = {setting.path for setting in describe(load_plugins())}
ROOT_COMMAND: Any = get_command(app)
COMMANDS = [(page, line) for page, text in PAGES.items() for line in re.findall(r"(kvctl [^`\n#|>]+)", text)]

pages = pytest.mark.parametrize("page", PAGES)


@pages
def test_every_setting_named_is_one(page: str) -> None:
    """What looks like a setting is one."""
    tables = {path.split(".")[0] for path in SETTINGS if "." in path}
    for name in re.findall(r"(?<![\w./-])[a-z_]+(?:\.[a-z_]+)+(?![\w/(-])", PAGES[page]):
        if name.split(".")[0] in tables and not name.endswith(".md"):
            assert name in SETTINGS


@pages
def test_every_metric_named_is_one(page: str) -> None:
    """What looks like a metric of kvcore is one."""
    names = {metric.name for metric in Metrics().described()}
    names |= {f"{name}_{ending}" for name in names for ending in ("bucket", "count", "sum")}
    assert set(re.findall(r"\bkvcore_[a-z_]+[a-z]\b(?!\*)", PAGES[page])) <= names | {"kvcore_migrations"}


@pages
def test_every_alert_named_is_one(page: str) -> None:
    """What looks like an alert is one."""
    assert set(re.findall(r"\bKvcore[A-Z]\w+", PAGES[page])) <= alerts().keys()


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line.strip() for _, line in COMMANDS])
def test_every_command_named_is_one(page: str, line: str) -> None:
    """A command line of `kvctl` names a command and options that there are."""
    check_command(line)


@pytest.mark.parametrize("line", ["kvctl dead-letters bury", "kvctl export --versions x", "kvctl lag"])
def test_a_command_that_is_none_is_found(line: str) -> None:
    """The check notices a command, one of a group, and an option that do not exist."""
    with pytest.raises(AssertionError):
        check_command(line)


def check_command(line: str) -> None:
    """Follow the words of a command line through the tree of commands; then look at its options."""
    command = ROOT_COMMAND
    words = shlex.split(line.rstrip(" .,;:)&\\"))[1:]
    while words and hasattr(command, "get_command"):
        word = words.pop(0)
        command = command.get_command(typer.Context(command), word)  # those of plugins included
        assert command is not None, f"{line}: there is no command {word!r}"
    options = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    assert {word for word in words if word.startswith("-") and word != "-"} <= options | {"--help"}
