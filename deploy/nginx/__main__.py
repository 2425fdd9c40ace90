"""`python -m deploy.nginx`: render the configuration of NGINX before kvcore."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore.errors import SettingsError
from kvcore.settings import LimitSettings

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def main(
    nodes: Annotated[list[str], typer.Option("--node", metavar="HOST:PORT", help="A node of kvcore. May be repeated.")],
    resolver: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A name server: names of nodes are looked up there again while NGINX runs (1.27.3 or newer).",
        ),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ADDRESS:]PORT", help="Where to listen. May be repeated. Default: 443 with a certificate, else 80."
        ),
    ] = None,
    server_names: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            metavar="NAME",
            help="A name to answer to. May be repeated. Default: any that no other server has.",
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Certificate and those between it and the root, PEM. Default: plain HTTP."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    redirect_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ADDRESS:]PORT",
            help="Where to listen for plain HTTP, to redirect it to HTTPS on port 443. May be repeated."
            " Default: 80 with a certificate and without --listen.",
        ),
    ] = None,
    internal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK", help="Who may see /admin and /metrics. May be repeated. Default: this machine."
        ),
    ] = None,
    trusted_proxies: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="NETWORK",
            help="A load balancer in front, whose X-Forwarded-For is believed. May be repeated.",
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="Requests per second that each address may send. Default: any number.")
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(min=1, help="How many it may send at once after a pause. Default: as many as the rate."),
    ] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Requests that each address may have under way. Default: any number.")
    ] = None,
    access_log: Annotated[str | None, typer.Option(metavar="FILE", help="Default: /var/log/nginx/kvcore.log.")] = None,
    maintenance_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="As long as it is there, all is answered 503. Default: /etc/nginx/kvcore.maintenance."
        ),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="kvcore.toml of the nodes, where its [limits] are not the defaults."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it. Default: standard output.")
    ] = None,
) -> None:
    """Render the configuration of NGINX before the nodes of kvcore, as goes to /etc/nginx/conf.d/kvcore.conf.

    \b
    python -m deploy.nginx --node 10.0.0.1:8000 --node 10.0.0.2:8000 --server-name kv.example.com \\
        --certificate /etc/ssl/kv.pem --key /etc/ssl/private/kv.key --internal 10.0.0.0/16 > kvcore.conf
    """  # noqa: D301 - \b tells Typer to keep the lines of the example
    if certificate and not listen and not redirect_from:
        redirect_from = ["80"]
    said = {
        "nodes": nodes,
        "resolver": resolver,
        "listen": listen,
        "server_names": server_names,
        "certificate": certificate,
        "key": key,
        "redirect_from": redirect_from,
        "internal": internal,
        "trusted_proxies": trusted_proxies,
        "rate_per_s": rate,
        "burst": burst,
        "connections": connections,
        "access_log": access_log,
        "maintenance_file": maintenance_file,
    }
    try:
        proxy = msgspec.convert(
            {name: value for name, value in said.items() if value is not None} | {"limits": _limits(limits)}, Proxy
        )
        text = render(proxy)
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, encoding="utf-8")
    except (SettingsError, OSError) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None


def _limits(file: Path | None) -> LimitSettings:
    """Return the limits that a configuration of nodes has.

    Raises:
        SettingsError: it cannot be read, or has limits that no node takes.
    """
    if file is None:
        return LimitSettings()
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")).get("limits", {}), LimitSettings)
    except (OSError, ValueError) as error:  # malformed TOML and wrong values are ValueErrors
        raise SettingsError(f"{file}: {error}") from None


if __name__ == "__main__":
    app(prog_name="python -m deploy.nginx")
