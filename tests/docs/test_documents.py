"""The documents against the code: what there is is documented, and what is linked is there."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

import kvcore
from kvcore import hookspecs
from kvcore.backends import Ability
from kvcore.http.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md"), *ROOT.glob("bench/*.md")]
)
HOOKS = [name for name in vars(hookspecs) if name.startswith("kvcore_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_used(hook: str) -> None:
    """Each hook stands in the page about plugins, and a plugin of this repository implements it."""
    assert f"`{hook}`" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    sources = [*ROOT.glob("plugins/*/kvcore_*/**/*.py"), *ROOT.glob("examples/*/kvcore_*/**/*.py")]
    assert any(f"def {hook}(" in source.read_text(encoding="utf-8") for source in sources)


@pytest.mark.parametrize("module", sorted(module.name for module in pkgutil.iter_modules(kvcore.__path__)))
def test_every_module_is_in_the_architecture(module: str) -> None:
    """Whoever is new finds each module in the table of where things are."""
    table = re.findall(r"^\| (`.+?) \| ", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert module in {name for line in table for name in re.findall(r"`(\w+)/?`", line)}


@pytest.mark.parametrize("ability", Ability)
def test_every_ability_is_documented(ability: Ability) -> None:
    """Each ability stands in the page about plugins."""
    assert f"| `{ability}` |" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_is_given_by_something(name: str) -> None:
    """No type of problem is documented that nothing answers with."""
    mentions = sum(source.read_text(encoding="utf-8").count(f'"{name}"') for source in ROOT.glob("kvcore/http/*.py"))
    assert mentions > 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Each relative link names a file that is there, and a heading in it where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target
