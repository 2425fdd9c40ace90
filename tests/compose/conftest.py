"""The whole topology in Docker, started once for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.engine import Engine, MissingEngineError, engine
from tests.compose.public_images import make_stand_ins
from tests.compose.stack import Stack, public_images


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Give a Docker engine that has the public images, or stand-ins for them, or can pull them."""
    try:
        with engine(tmp_path_factory.mktemp("engine")) as found:
            if found.is_own:
                make_stand_ins(found, public_images(), tmp_path_factory.mktemp("debian"))
            yield found
    except MissingEngineError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))  # the message names what to install; with CI set it has failed above


@pytest.fixture(scope="session")
def stack(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Give the whole topology, started by `./start.sh production`."""
    started = Stack(docker_engine, tmp_path_factory.mktemp("repository"))
    try:
        started.start()
        yield started
    finally:
        started.remove()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """Give a client of it, with a token."""
    with stack.client() as opened:
        yield opened


@pytest.fixture
def constraints() -> dict[str, str]:
    """Give the versions that the checks run with, by the normalised name of the distribution."""
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}
