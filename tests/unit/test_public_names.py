"""What each module offers."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import kvcore

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(kvcore.__path__, "kvcore.")
    if not module.name.rpartition(".")[2].startswith("_")
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_names_what_it_offers(name: str) -> None:
    """`__all__` is a tuple, in order, of names that are there; a package without code has none."""
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", ())
    assert isinstance(offered, tuple)
    assert all(hasattr(module, one) for one in offered)
    assert len(set(offered)) == len(offered)


def test_importing_kvcore_imports_nothing_else() -> None:
    """`import kvcore` costs nothing: what is needed is imported from its modules."""
    program = "import sys; before = set(sys.modules); import kvcore; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"kvcore"}
