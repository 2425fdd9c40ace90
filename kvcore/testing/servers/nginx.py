"""NGINX with a configuration of one's own."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from kvcore.testing.servers.group import ServerGroup, find_executable
from kvcore.testing.servers.ports import HOST
from kvcore.testing.servers.process import ServerProcess, clean_environment, run_tool, wait_until
from kvcore.testing.servers.process_tree import Member, is_alive, members

__all__ = ("NginxProxy",)

_WORKERS: Final = 2
# A master in the foreground with its workers, all of whose files are in its folder. Graceful ends are bounded. Compression is
# on, as in Debian's nginx.conf, for whatever there is: a configuration that must not have it has to say so.
_CONF: Final = """\
daemon off;
{user}worker_processes {workers};
worker_shutdown_timeout 10s;
pid nginx.pid;
error_log error.log;
events {{
    worker_connections 4096;
}}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    access_log access.log;
    gzip on;
    gzip_proxied any;
    gzip_types *;
    include kvcore.conf;
}}
"""
_LISTENS: Final = "0A"
_RELOADS_WITHIN_S: Final = 30.0


class NginxProxy(ServerGroup):
    """One NGINX, a master and two workers, which writes to its folder alone.

    Args:
        configuration: For the context http; it must listen on that port of 127.0.0.1. Relative paths are below the folder.
        port: Where it listens.
        folder: As for every group.

    Attributes:
        url: Where it is.
        access_log: `access.log` in its folder.
        error_log: What it says of itself.
    """

    kind = "nginx"

    def __init__(self, configuration: str, *, port: int, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.access_log = self.folder / "access.log"
        self.error_log = self.folder / "error.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configuration = self.folder / "kvcore.conf"
        self._configuration.write_text(configuration, encoding="utf-8")
        (self.folder / "nginx.conf").write_text(_CONF.format(user=_user_directive(), workers=_WORKERS))
        self._command = [self._nginx, "-p", str(self.folder), "-e", "error.log", "-c", "nginx.conf"]
        self.process = ServerProcess(
            "nginx",
            self._command,
            folder=self.folder,
            port=port,
            is_ready=self._listens,
            stop_signal=signal.SIGQUIT,
        )
        self.processes = (self.process,)

    @property
    def version(self) -> str:
        """`NGINX` and its number."""
        said = subprocess.run([self._nginx, "-v"], capture_output=True, text=True, check=True).stderr
        return f"NGINX {said.strip().rpartition('/')[2]}"

    def check(self) -> None:
        """Have NGINX read the configuration without starting.

        Raises:
            ServerError: it would not start with it; the message says why.
        """
        run_tool([*self._command, "-t"], environment=clean_environment(self.folder), folder=self.folder)

    def reload(self, configuration: str | None = None) -> None:
        """Have it read the configuration again, or another one, and return when new workers serve and old ones take no connection.

        These go on with the requests that they have.

        Raises:
            ServerError: it does not take the configuration, and goes on with what it had; or it is not done in time.
        """
        before = self._configuration.read_text(encoding="utf-8")
        if configuration is not None:
            self._configuration.write_text(configuration, encoding="utf-8")
        try:
            self.check()
        except BaseException:
            self._configuration.write_text(before, encoding="utf-8")
            raise
        old = self._workers()
        os.kill(self.process.pid, signal.SIGHUP)
        wait_until(lambda: self._is_replaced(old), within_s=_RELOADS_WITHIN_S, what="NGINX has new workers")

    def _find_executables(self) -> None:
        self._nginx = find_executable("nginx", package="nginx-light", last="/usr/sbin")

    def wait_until_whole(self) -> None:  # noqa: D102 - documented by the class above
        wait_until(
            lambda: len(self._workers()) == _WORKERS, within_s=_RELOADS_WITHIN_S, what="NGINX has all of its workers"
        )

    def _listens(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1):
            return True

    def _workers(self) -> list[Member]:
        return members(self.process.pid)[1:]

    def _is_replaced(self, old: list[Member]) -> bool:
        sockets = _listening_sockets(self.port)
        is_old_serving = any(is_alive(worker) and _holds(worker, sockets) for worker in old)
        new = [worker for worker in self._workers() if worker not in old]
        return not is_old_serving and len(new) == _WORKERS


def _user_directive() -> str:
    """Return who the workers are: the user that starts them. Only root can choose, and would by default get another."""
    return f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""


def _listening_sockets(port: int) -> set[str]:
    """Return what links to the listening sockets of a port look like in /proc/<pid>/fd."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{line[9]}]" for line in lines if line[3] == _LISTENS and line[1].endswith(f":{port:04X}")}


def _holds(process: Member, sockets: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in sockets for link in Path(f"/proc/{process.pid}/fd").iterdir())
    except FileNotFoundError:  # it, or one of its files, is gone since: look again
        return is_alive(process)
