"""The configuration of NGINX, from its templates."""

from __future__ import annotations

import math
import re
import string
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.nginx.answers import locations, too_large
from deploy.nginx.proxy import Proxy
from kvcore.backends import Limits
from kvcore.http.protocol import MAX_HEAD_BYTES
from kvcore.http.requests import body_limit
from kvcore.settings import HttpSettings, LimitSettings

__all__ = ("render",)

_TEMPLATES: Final = Path(__file__).parent / "templates"
_HSTS: Final = "Strict-Transport-Security max-age=63072000"
"""Two years, in seconds."""
_BLOCK: Final = re.compile(r" *%%[a-z_]+")
_MOST_ATTEMPTS: Final = 7
"""NGINX ends a request with 500 at its tenth redirect; each attempt is one, and so are the way there and that to the answer."""
_BELIEVED_S: Final = 2
"""How long an answer of the name server holds: a node that is about to stop is to be forgotten within `http.drain_s`."""
_SLACK_S: Final = 2.0
"""How much later than its own deadlines a node may answer."""
_FAILOVERS: Final = 3
"""How many nodes that hang a read waits for."""
_PATIENCE_S: Final = 10.0
"""How long a read may wait for a version. The probe of the lag, which is part of the administration, takes half as long."""


def render(proxy: Proxy) -> str:
    """Return the configuration, for the context http of NGINX 1.22 or newer."""
    return _filled(
        "kvcore.conf",
        _sizes(proxy.limits)
        | _times(proxy.limits)
        | {
            "resolver": f"resolver {proxy.resolver} valid={_BELIEVED_S}s;" if proxy.resolver else "",
            "nodes": "\n".join(_nodes(proxy)),
            "most_repeats": (_MOST_ATTEMPTS if proxy.resolver else min(len(proxy.nodes), _MOST_ATTEMPTS)) - 1,
            "internal": "\n".join(f"{network} 1;" for network in proxy.internal),
            "limit_zones": _limit_zones(proxy),
            "limits": "\n".join(_limits(proxy)),
            "redirect": _redirect(proxy),
            "listen": "\n".join(_listening(proxy)),
            "server_name": _server_name(proxy),
            "tls": _tls(proxy),
            "real_ip": "\n".join(_real_ip(proxy)),
            "access_log": proxy.access_log,
            "maintenance_file": proxy.maintenance_file,
            "answers": locations((_HSTS,) if proxy.certificate else ()),
        },
    )


# --- parts of it ------------------------------------------------------------------------------------------------------


class _Text(string.Template):
    """Text of NGINX's configuration, in which $ is its own."""

    delimiter = "%%"


def _filled(name: str, fields: Mapping[str, object]) -> str:
    """Return a template with its fields; one that has a line for itself may be several lines, or none."""
    lines: list[str] = []
    for line in (_TEMPLATES / name).read_text(encoding="utf-8").splitlines():
        text = _Text(line).substitute(fields)
        if _BLOCK.fullmatch(line):
            indent = line[: line.index("%")]
            lines += textwrap.indent(text.removeprefix(indent), indent).splitlines()
        else:
            lines.append(text)
    return "\n".join(lines) + "\n"


def _sizes(limits: LimitSettings) -> dict[str, object]:
    """Return what is in step with the sizes that nodes take, so that what is refused is refused by NGINX.

    A node that refuses a body closes the connection without reading on, and NGINX, still sending, may never see why.
    """
    value_bytes, batch_bytes = limits.max_value_bytes, limits.batch_bytes
    put_bytes = body_limit(Limits(max_key_bytes=limits.max_key_bytes, max_value_bytes=value_bytes))
    return {
        "head_bytes": MAX_HEAD_BYTES,
        "value_bytes": value_bytes,
        "put_bytes": put_bytes,
        "batch_bytes": batch_bytes,
        "value_too_large": too_large("value-too-large", value_bytes),
        "put_too_large": too_large("body-too-large", put_bytes),
        "batch_too_large": too_large("body-too-large", batch_bytes),
    }


def _times(limits: LimitSettings) -> dict[str, object]:
    http = HttpSettings()
    answer_s = limits.read_deadline_s + limits.write_deadline_s + _SLACK_S
    return {
        "head_timeout": _seconds(http.head_timeout_s),
        "body_timeout": _seconds(http.body_timeout_s),
        "send_timeout": _seconds(http.send_timeout_s),
        "keep_alive": _seconds(http.keep_alive_s),
        "answer_timeout": _seconds(answer_s),
        "failover_timeout": _seconds(_FAILOVERS * answer_s),
        "patient_timeout": _seconds(answer_s + _PATIENCE_S),
    }


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)}s"


def _nodes(proxy: Proxy) -> Iterator[str]:
    resolve = " resolve" if proxy.resolver else ""
    for node in proxy.nodes:
        yield f"server {node} max_fails=1 fail_timeout=2s{resolve};"


def _limit_zones(proxy: Proxy) -> str:
    return _filled("limits.conf", {"zones": "\n".join(_zones(proxy))}) if proxy.rate_per_s or proxy.connections else ""


def _zones(proxy: Proxy) -> Iterator[str]:
    if proxy.rate_per_s:
        yield f"limit_req_zone $kvcore_caller zone=kvcore_rate:10m rate={proxy.rate_per_s}r/s;"
    if proxy.connections:
        yield "limit_conn_zone $kvcore_caller zone=kvcore_connections:10m;"


def _limits(proxy: Proxy) -> Iterator[str]:
    if proxy.rate_per_s:
        yield f"limit_req zone=kvcore_rate burst={proxy.burst or proxy.rate_per_s} nodelay;"
        yield "limit_req_status 429;"
    if proxy.connections:
        yield f"limit_conn kvcore_connections {proxy.connections};"
        yield "limit_conn_status 474;"


def _listening(proxy: Proxy) -> Iterator[str]:
    # NGINX 1.25.1 and newer say that "http2" has a directive of its own, which 1.22 does not know, and take it all the same.
    suffix = " ssl http2" if proxy.certificate else ""
    for place in proxy.listen or (("443",) if proxy.certificate else ("80",)):
        yield f"listen {place}{suffix};"


def _server_name(proxy: Proxy) -> str:
    return " ".join(proxy.server_names) or "_"


def _tls(proxy: Proxy) -> str:
    if proxy.certificate is None:
        return ""
    return _filled("tls.conf", {"certificate": proxy.certificate, "key": proxy.key, "hsts": _HSTS})


def _redirect(proxy: Proxy) -> str:
    if not proxy.redirect_from:
        return ""
    listen = "\n".join(f"listen {place};" for place in proxy.redirect_from)
    return _filled(
        "redirect.conf", {"listen": listen, "server_name": _server_name(proxy), "access_log": proxy.access_log}
    )


def _real_ip(proxy: Proxy) -> Iterator[str]:
    if proxy.trusted_proxies:
        for network in proxy.trusted_proxies:
            yield f"set_real_ip_from {network};"
        yield "real_ip_header X-Forwarded-For;"
        yield "real_ip_recursive on;"
