"""The pages for people: `/`, and Swagger UI at `/docs`. All of it comes from this package: no page asks another host."""

from __future__ import annotations

from importlib import resources
from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.router import Router
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp

from kvcore import __version__
from kvcore.http.answers import Answer

__all__ = ("openapi_config", "page_handlers")

_STATIC = resources.files("kvcore.http") / "static"


class SwaggerUi(OpenAPIRenderPlugin):
    """Swagger UI from the files in this package; Litestar's own loads them from elsewhere."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page, which loads the schema by itself."""
        return (_STATIC / "docs.html").read_bytes()


def openapi_config() -> OpenAPIConfig:
    """Return where and how the API is documented."""
    return OpenAPIConfig(
        title="kvcore",
        version=__version__,
        description="A key-value service over three replaceable tiers: cache, queue and store.",
        path="/docs",
        render_plugins=[SwaggerUi()],
    )


def page_handlers() -> list[HTTPRouteHandler | Router]:
    """Return the handlers of the pages, and of the files that they load."""

    @get("/", include_in_schema=False)
    async def index() -> ASGIApp:
        return Answer(200, (_STATIC / "index.html").read_bytes(), media_type=b"text/html; charset=utf-8")

    assets = create_static_files_router(
        path="/docs/assets", directories=[str(_STATIC / "swagger-ui")], include_in_schema=False
    )
    return [index, assets]
