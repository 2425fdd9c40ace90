"""`python -m deploy.terraform.proxy`: the configuration of deploy/nginx for nodes whose addresses change."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Final

import typer

from deploy.nginx.configuration import Proxy, render

__all__ = ("configuration",)

_LISTEN: Final = "8080"
_ACCESS_LOG: Final = "/dev/stdout"
_SERVER: Final = re.compile(r"(?m)^( *server \S+ max_fails=.*);$")
_BELIEVED_S: Final = 5
"""How long an address is believed; the node's `http.drain_s` has to be longer than this and the record's own time together."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def configuration(nodes: tuple[str, ...], resolver: str, access_log: str = _ACCESS_LOG) -> str:
    """Return the configuration of NGINX 1.27.3 or newer, which looks the names of the nodes up again all the time.

    Each node is `name:port`, and a name may have several addresses. `resolve` beside `resolver` and `zone` is what does it:
    https://nginx.org/en/docs/http/ngx_http_upstream_module.html#resolve

    Raises:
        RuntimeError: what deploy/nginx renders is not what this knows.
    """
    rendered = render(Proxy(nodes=nodes, listen=(_LISTEN,), access_log=access_log))
    resolving, count = _SERVER.subn(r"\1 resolve;", rendered)
    if count != len(nodes):
        raise RuntimeError(f"deploy/nginx renders {count} servers that this finds, for {len(nodes)} nodes")
    return f"resolver {resolver} valid={_BELIEVED_S}s;\n\n{resolving}"


@app.command()
def main(
    nodes: Annotated[list[str], typer.Option("--node", metavar="NAME:PORT", help="A name of nodes. May be repeated.")],
    resolver: Annotated[str, typer.Option(metavar="ADDRESS", help="The name server: of a VPC, its third address.")],
    access_log: Annotated[
        str, typer.Option(metavar="FILE", help="/dev/null at high rates, where CloudWatch costs more than all else.")
    ] = _ACCESS_LOG,
) -> None:
    """Render the configuration of NGINX before nodes that are known by names in DNS."""
    sys.stdout.write(configuration(tuple(nodes), resolver, access_log))


if __name__ == "__main__":
    app(prog_name="python -m deploy.terraform.proxy")
