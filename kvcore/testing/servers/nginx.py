"""NGINX as a proxy in front of a node."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from kvcore.testing.servers.group import ServerGroup, find_executable
from kvcore.testing.servers.ports import HOST, free_port
from kvcore.testing.servers.process import ServerProcess

__all__ = ("NginxProxy",)

# One process in the foreground, which writes to its folder alone. Real addresses are those that a test says in
# X-Forwarded-For, since all its requests come from this machine.
_CONF = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
{includes}
    set_real_ip_from {host};
    real_ip_header X-Forwarded-For;
    access_log {folder}/access.log {log_format};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass {upstream};
        }}
    }}
}}
"""


class NginxProxy(ServerGroup):
    """One NGINX that passes everything on to `upstream`, such as `http://127.0.0.1:8000`.

    `includes` are configuration files for its context http; `log_format` is the name of a format, of theirs perhaps.

    Attributes:
        url: Where it is.
        access_log: The file with a line for each request that is over.
    """

    kind = "nginx"

    def __init__(
        self,
        upstream: str,
        *,
        includes: Iterable[Path] = (),
        log_format: str = "combined",
        folder: Path | None = None,
    ) -> None:
        super().__init__(folder)
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self.access_log = self.folder / "access.log"
        config = self.folder / "nginx.conf"
        config.write_text(
            _CONF.format(
                host=HOST,
                port=port,
                folder=self.folder,
                upstream=upstream,
                log_format=log_format,
                includes="".join(f"    include {file};\n" for file in includes),
            )
        )
        command = [self._nginx, "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(config)]
        self.processes = (
            ServerProcess("nginx", command, folder=self.folder, port=port, is_ready=lambda: _listens(port)),
        )

    @property
    def version(self) -> str:
        """`NGINX` and its number."""
        said = subprocess.run([self._nginx, "-v"], capture_output=True, text=True, check=True).stderr
        return f"NGINX {said.strip().rpartition('/')[2]}"

    def _find_executables(self) -> None:
        self._nginx = find_executable("nginx", package="nginx-light", last="/usr/sbin")

    def _wait_until_whole(self) -> None:
        """One that listens is whole."""


def _listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True
