"""What there is to set: the table `[tracing.otel]`."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from kvcore.errors import SettingsError
from kvcore.secret import Secret

__all__ = ("OtelSettings", "check_endpoint", "headers_of")

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class OtelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where spans go, and how many of them there are."""

    endpoint: Annotated[
        str,
        Meta(
            description="URL that the collector takes spans at, by OTLP over HTTP with protobuf; it ends with /v1/traces."
        ),
    ] = "http://127.0.0.1:4318/v1/traces"
    headers: Annotated[
        Secret | None,
        Meta(
            description="Header fields to send along, a token say, in the form of `OTEL_EXPORTER_OTLP_HEADERS`: name=value, with commas"
            " between several and the values percent-encoded, such as `authorization=Bearer%20abc`."
        ),
    ] = None
    service_name: Annotated[str, Meta(min_length=1, description="The `service.name` of the spans.")] = "kvcore"
    sample_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Part of the requests to make spans of, where the caller has not decided: one that sends a `traceparent` has.",
        ),
    ] = 1.0


def check_endpoint(endpoint: str) -> None:
    """Return if spans can be sent there.

    Raises:
        SettingsError: it is not a URL of HTTP, or has a password in it.
    """
    try:
        parts = urlsplit(endpoint)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise SettingsError("tracing.otel.endpoint: this is not a URL") from None
    if "@" in parts.netloc:
        raise SettingsError(
            "tracing.otel.endpoint: there is a name or a password in it; send it in tracing.otel.headers"
        )
    if not fits:
        raise SettingsError(f"tracing.otel.endpoint: {endpoint!r} is not a URL such as http://127.0.0.1:4318/v1/traces")


def headers_of(settings: OtelSettings) -> dict[str, str]:
    """Return the header fields.

    Raises:
        SettingsError: they do not have the form; nothing of them is repeated.
    """
    headers: dict[str, str] = {}
    for number, given in enumerate(settings.headers.reveal().split(",") if settings.headers else (), 1):
        name, equals, value = given.partition("=")
        name, value = unquote(name).strip(), unquote(value).strip()
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise SettingsError(
                f"tracing.otel.headers: field {number} is not name=value with a value of visible ASCII, percent-encoded"
            )
        headers[name] = value
    return headers
