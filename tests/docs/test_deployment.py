"""docs/deployment: what is written there to be typed or copied is understood by what it is written for."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.nginx.__main__ import app as nginx_app
from kvcore.config import describe, resolve
from kvcore.plugins import load_plugins
from tests.monitoring.test_runbook import check_command

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "deployment"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
# Those that are about the machines themselves; what is to be typed in the others is tried where the thing itself is.
OWN = ("README.md", "bare-machines.md", "capacity.md", "tls.md", "zones.md")
SETTINGS = {setting.path for setting in describe(load_plugins())}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the blocks of a language, each with its page."""
    pattern = rf"^( *)```{language}\n(.*?)^\1```"
    return [
        (page, textwrap.dedent(block))
        for page, text in PAGES.items()
        for _, block in re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    ]


def commands(program: str) -> list[tuple[str, str]]:
    """Return the lines to be typed that begin with a program, each with its page."""
    return [
        (page, line)
        for page, block in blocks("console")
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(rf"(\S*/)?{re.escape(program)} ", line)
    ]


KVCTL = [
    (page, line)
    for page, text in PAGES.items()
    for line in re.findall(r"(?<![\w./-])(kvctl [a-z][^`\n#|>)]+)", text)
    if page in OWN
]


@pytest.mark.parametrize(("page", "line"), KVCTL, ids=[line.strip() for _, line in KVCTL])
def test_every_command_of_kvctl_named_is_one(page: str, line: str) -> None:
    """A command line of `kvctl` names a command and options that there are."""
    check_command(line)


@pytest.mark.parametrize("page", OWN)
def test_every_setting_named_is_one(page: str) -> None:
    """What looks like a setting is one."""
    tables = {path.split(".")[0] for path in SETTINGS if "." in path}
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?: = [^`]*)?`", PAGES[page]):
        if name.split(".")[0] in tables and not name.endswith((".md", ".py")):
            assert name in SETTINGS


@pytest.mark.parametrize(("page", "block"), blocks("toml"))
def test_every_configuration_is_understood(page: str, block: str, tmp_path: Path) -> None:
    """A TOML block is a kvcore.toml, or a part of one, without a name or value that a node would refuse."""
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    file = tmp_path / "kvcore.toml"
    file.write_text(re.sub(r'(password_file = )".*"', rf'\1"{secret}"', block), encoding="utf-8")
    resolve(load_plugins(), file=file, environment={})


@pytest.mark.parametrize(("page", "block"), [found for found in [*blocks("console"), *blocks("sh")] if found[0] in OWN])
def test_the_shell_understands_every_block(page: str, block: str) -> None:
    """What is to be typed has matching quotes and whole constructs."""
    done = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True, check=False, timeout=10)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "line"), commands("python"))
def test_every_module_that_is_run_is_there(page: str, line: str) -> None:
    """`python -m …` names a module of this repository, or one of Python's or the test tools' own."""
    words = shlex.split(line)
    if "-m" in words:
        module = words[words.index("-m") + 1]
        if module.startswith(("deploy.", "bench.")):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def test_nginx_is_rendered_as_it_is_told(tmp_path: Path) -> None:
    """The command for three nodes with a certificate renders a configuration that has them."""
    ((_, line),) = [
        found for found in commands("python") if "deploy.nginx" in found[1] and found[0] == "bare-machines.md"
    ]
    words = shlex.split(line)[3:]
    output = tmp_path / "kvcore.conf"
    words[words.index("--output") + 1] = str(output)
    said = CliRunner().invoke(nginx_app, words)
    assert said.exit_code == 0, said.output
    assert all(f"10.0.0.1{number}:8000" in output.read_text(encoding="utf-8") for number in (1, 2, 3))


def test_the_private_authority_is_made_as_it_is_told(tmp_path: Path) -> None:
    """The blocks of tls.md, run one after the other, make an authority and certificates that it has signed, by their names."""
    for page, block in blocks("sh"):
        if page == "tls.md":
            done = subprocess.run(
                ["sh", "-e"], input=block, text=True, capture_output=True, check=False, cwd=tmp_path, timeout=60
            )
            assert done.returncode == 0, done.stderr
    assert "kv-1.crt: OK" in subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "kv-1", "-verify_ip", "10.0.0.11", "kv-1.crt"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("*.key")} == {0}


def test_every_file_of_the_repository_that_is_installed_is_there() -> None:
    """What `install` takes from deploy/systemd exists."""
    found = [
        word for _, line in commands("install") for word in shlex.split(line) if word.startswith("deploy/systemd/")
    ]
    assert found
    for word in found:
        assert list(ROOT.glob(word)), word


def test_the_unit_of_cockroachdb_is_one(tmp_path: Path) -> None:
    """The unit that is to be written for CockroachDB is one in which systemd finds no fault."""
    ((_, block),) = blocks("ini")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; tests/deployment fails for it where CI is set")
    unit = tmp_path / "cockroach.service"
    unit.write_text(
        re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", block).replace("User=cockroach\n", ""), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
