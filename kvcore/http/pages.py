"""The pages for people: the console at `/`, and Swagger UI at `/docs`. All of it comes from this package: no page asks another host."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import License, Server, Tag
from litestar.router import Router
from litestar.static_files import create_static_files_router

from kvcore import __version__
from kvcore.http.console import console_handlers
from kvcore.http.openapi import BEARER, components

__all__ = ("openapi_config", "page_handlers")

_STATIC = resources.files("kvcore.http") / "static"
_ASSETS: Final = frozenset(file.name for file in (_STATIC / "swagger-ui").iterdir())


# Its buttons send requests: in the frame of another page somebody could be led to press them.
_OF_DOCS: Final = {"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}


class SwaggerUi(OpenAPIRenderPlugin):
    """Swagger UI from the files in this package; Litestar's own loads them from elsewhere."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page, which loads the schema by itself."""
        return (_STATIC / "docs.html").read_bytes()


def openapi_config(handlers: Iterable[Any] = ()) -> OpenAPIConfig:
    """Return where and how the API of these handlers, and of those that plugins give, is documented."""
    operations = [handler.operation_class for handler in handlers if isinstance(handler, HTTPRouteHandler)]
    return OpenAPIConfig(
        title="kvcore",
        version=__version__,
        description=_DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url="/", description="The node that shows this page.")],
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        security=[{BEARER: []}, {}],
        components=components(operations),
        openapi_router=Router("/docs", route_handlers=[], response_headers=_OF_DOCS, include_in_schema=False),
        render_plugins=[SwaggerUi()],
    )


_DESCRIPTION: Final = """\
A key-value service over three replaceable tiers: cache, queue and store.

Errors are problem documents (RFC 9457): branch by `type`, and read `detail`. What is malformed, unknown or said twice is
refused. A 503 says in `outcome` whether the request happened: sending it again after `Retry-After` is safe, but for a
conditional write without `Idempotency-Key` whose outcome is `unknown`: read the key first.

`HEAD` is answered wherever `GET` is, and `OPTIONS` with the methods of the path.
"""
_TAGS: Final = {
    "keys": "One key at a time, with its value as JSON.",
    "raw values": "One key at a time, its value any bytes of any media type. Any key can stand in the path, percent-encoded.",
    "many keys": "Listing and deleting by prefix, in pages, and batches of operations.",
    "operations": "What load balancers, monitoring and people ask a node.",
    "administration": "For operators: all of it needs a token with the scope `admin` for all keys.",
}


def page_handlers() -> list[HTTPRouteHandler | Router]:
    """Return the handlers of the pages, and of the files that they load."""
    assets = create_static_files_router(
        path="/docs/assets",
        directories=[str(_STATIC / "swagger-ui")],
        guards=[_refuse_unknown_asset],
        include_in_schema=False,
    )
    return [*console_handlers(), assets]


def _refuse_unknown_asset(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    # Names that no file can have, too long or with a NUL, are errors of the file system when they are looked for.
    if str(connection.path_params.get("file_path", "")).lstrip("/") not in _ASSETS:
        raise NotFoundException
