"""The web console at `/`: a page, its style and its modules, all from this package.

The files are asked for below a folder that is named after what is in them: whatever one page loads is of one version, also
while nodes are being upgraded, and may be kept for ever.
"""

from __future__ import annotations

from hashlib import blake2b
from importlib import resources
from typing import Any, Final

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.http.answers import Answer, Headers

__all__ = ("console_handlers",)

_FOLDER: Final = resources.files("kvcore.http") / "static" / "console"
_PAGE: Final = "index.html"
_MEDIA_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# The page runs nothing but these files, asks nobody but this node, and is shown in no other page.
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none';"
    b" form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OF_PAGE: Final = (
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
_OF_ASSETS: Final = ((b"cache-control", b"max-age=31536000, immutable"),)


def console_handlers() -> list[HTTPRouteHandler]:
    """Return the handlers of the page, and of the files that it loads."""
    files = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.is_file()}
    digest = _digest(files)
    page = files.pop(_PAGE).replace(b"/console/VERSION/", b"/console/%s/" % digest.encode())
    etag = b'"%s"' % digest.encode()

    @get("/", include_in_schema=False)
    async def index(request: Request[Any, Any, Any]) -> ASGIApp:
        headers: Headers = [*_ALWAYS, *_OF_PAGE, (b"etag", etag)]
        if request.headers.get("if-none-match", "").encode() == etag:
            return Answer(304, headers=headers)
        return Answer(200, page, media_type=_MEDIA_TYPES[".html"], headers=headers)

    @get("/console/{version:str}/{name:str}", include_in_schema=False)
    async def asset(request: Request[Any, Any, Any]) -> ASGIApp:
        name = request.path_params["name"]
        if request.path_params["version"] != digest or name not in files:
            raise NotFoundException
        return Answer(200, files[name], media_type=_media_type(name), headers=[*_ALWAYS, *_OF_ASSETS])

    return [index, asset]


def _digest(files: dict[str, bytes]) -> str:
    digest = blake2b(digest_size=8)
    for name in sorted(files):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(files[name]), files[name]))
    return digest.hexdigest()


def _media_type(name: str) -> bytes:
    return _MEDIA_TYPES[name[name.rindex(".") :]]
