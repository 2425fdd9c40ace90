"""One PostgreSQL server, where there is no CockroachDB."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

from kvcore.testing.servers.database import Database
from kvcore.testing.servers.group import find_executable
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerProcess, clean_environment, group_of, run_tool

__all__ = ("PostgresServer",)

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "log_min_messages": "warning",
}


class PostgresServer(Database):
    """One PostgreSQL server that keeps what it has acknowledged, whatever happens to it.

    It sorts text as people do, not by bytes, so that a statement which forgot `COLLATE "C"` shows. PostgreSQL refuses to run
    as root; for root it runs as the user "postgres", or else "nobody".
    """

    kind = "postgresql"
    user = "kvcore"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.password: str = secrets.token_hex(16)
        self._owner = _unprivileged_user() if os.geteuid() == 0 else None
        self.processes = self.nodes = (self._node(self.folder / "postgresql", free_port()),)

    @property
    def version(self) -> str:
        """`PostgreSQL` and the number that the server says."""
        return "PostgreSQL " + self.execute("SHOW server_version").split()[0]

    def execute(self, statement: str) -> str:  # noqa: D102 - documented by the class above
        command = [self._psql, "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"]
        command += ["--set=ON_ERROR_STOP=1", f"--command={statement}"]
        return run_tool(command, environment=self._environment, folder=self.folder)

    @property
    def _environment(self) -> dict[str, str]:
        (node,) = self.nodes
        access = {"PGHOST": node.host, "PGPORT": str(node.port), "PGUSER": self.user, "PGPASSWORD": self.password}
        return clean_environment(self.folder) | access | {"PGDATABASE": "postgres", "PGCONNECT_TIMEOUT": "2"}

    def _node(self, folder: Path, port: int) -> ServerProcess:
        command = [self._postgres, "-D", str(folder / "data"), "-p", str(port)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        return ServerProcess(
            "postgresql",
            command,
            folder=folder,
            port=port,
            is_ready=lambda: self.execute("SELECT 1") == "1",
            user=self._owner,
            stop_signal=signal.SIGINT,  # does not wait for clients to leave, as SIGTERM would
        )

    def launch(self) -> None:  # noqa: D102 - documented by the class above
        (node,) = self.nodes
        if not (node.folder / "data").exists():
            self._initialise(node.folder)
        super().launch()

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{self.database}'"):  # noqa: S608 - a constant
            self.execute(f"CREATE DATABASE {self.database}")

    def _initialise(self, folder: Path) -> None:
        folder.mkdir()
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        if self._owner is not None:
            for path in (folder, password):
                shutil.chown(path, self._owner, group_of(self._owner))
        command = [self._initdb, f"--pgdata={folder / 'data'}", f"--username={self.user}", f"--pwfile={password}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        command += ["--locale-provider=icu", "--icu-locale=und"]
        run_tool(command, environment=clean_environment(folder), folder=folder, user=self._owner)
        password.unlink()

    def _find_executables(self) -> None:
        # Debian keeps the servers of all versions out of PATH.
        versions = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
        )
        places = os.pathsep.join(str(path) for path in versions)
        self._postgres, self._initdb, self._psql = (
            find_executable(name, package="postgresql", last=places) for name in ("postgres", "initdb", "psql")
        )


def _unprivileged_user() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
