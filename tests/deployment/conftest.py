"""What several tests of the deployment need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvcore.testing.fixtures import required
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import HOST


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a certificate for this machine, with its key beside it as key.pem."""
    folder = tmp_path_factory.mktemp("tls")
    file = folder / "certificate.pem"
    form = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(file)]
    openssl = required(lambda: find_executable("openssl", package="openssl"))
    command = [openssl, *form.split(), "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}", *files]
    subprocess.run(command, check=True, capture_output=True)
    return file
