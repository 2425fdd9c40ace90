"""The API against its own description: schemathesis makes requests from the schema, right and wrong, and follows its links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from tests.e2e.endpoint import Endpoint

HOOKS = Path(__file__).parent / "schema_hooks.py"
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "25")
"""How many requests are made up for each operation; more of them find more."""


def test_the_description_is_valid_openapi(client: httpx.Client) -> None:
    """What a node shows as its description is a valid document of OpenAPI 3.1."""
    schema = client.get("/docs/openapi.json").json()
    assert schema["openapi"].startswith("3.1.")
    validate(schema)


@pytest.mark.timeout(3600)
def test_the_api_is_as_described(node: Endpoint, tmp_path: Path) -> None:
    """Every answer to whatever can be made from the schema is one that the schema describes, and no check fails.

    All checks of schemathesis are on, and all its phases: examples, edge cases of every parameter, random requests, and
    sequences along the links.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{node.url}/docs/openapi.json"),
        *("--checks", "all", "--max-examples", EXAMPLES, "--seed", "1"),
        *("--generation-database", "none", "--no-color", "--continue-on-failure"),
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HOOKS.parent)}
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
