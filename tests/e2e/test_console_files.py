"""The files of the web console, asked of a running node: what they are, what they allow, and how long they may be kept."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

import kvcore.http
from tests.e2e.endpoint import Endpoint, is_nginx

FOLDER = Path(kvcore.http.__file__).parent / "static" / "console"
ASSETS = sorted(file.name for file in FOLDER.iterdir() if file.name != "index.html")
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}


@pytest.fixture
def page(client: httpx.Client) -> httpx.Response:
    """Give the page."""
    return client.get("/").raise_for_status()


@pytest.fixture
def folder(page: httpx.Response) -> str:
    """Give the path below which the page asks for its files."""
    (folder,) = set(re.findall(r"/console/[0-9a-f]+/", page.text))
    return str(folder)


def test_the_page_runs_nothing_but_its_own_files(page: httpx.Response) -> None:
    """The policy lets in scripts, styles and answers of this node only, and no markup that a script has put together."""
    said = page.headers["content-security-policy"].split("; ")
    assert dict(directive.split(" ", 1) for directive in said) == POLICY


def test_the_page_tells_nobody_where_it_is(page: httpx.Response) -> None:
    """No other page gets a hold on it, frames it, or learns of it; and no type is guessed."""
    expected = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    assert {name: page.headers[name] for name in expected} == expected


def test_the_page_is_asked_for_again_each_time(client: httpx.Client, page: httpx.Response) -> None:
    """So that an upgrade is seen at once; and it is not sent again where nothing has changed."""
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": '"another"'}).status_code == 200


@pytest.mark.parametrize("name", ASSETS)
def test_a_file_is_what_it_says_and_may_be_kept_for_ever(client: httpx.Client, folder: str, name: str) -> None:
    """Its address is new when it is, so whoever has it need not ask again."""
    answer = client.get(folder + name)
    assert (answer.status_code, answer.content) == (200, (FOLDER / name).read_bytes())
    assert answer.headers["content-type"].partition(";")[0] == MEDIA_TYPES[Path(name).suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "max-age=31536000, immutable"
    head = client.head(folder + name)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "%00", "..%2findex.html", "a" * 5000, "main.js/main.js"])
def test_there_is_nothing_else_in_the_folder(node: Endpoint, client: httpx.Client, folder: str, name: str) -> None:
    """Whatever name is asked for, no other file is sent, and nothing fails. NGINX takes no path with NUL."""
    answer = client.get(folder + name)
    refused = (
        (400, "/problems/malformed-http") if is_nginx(node) and name == "%00" else (404, "/problems/no-such-resource")
    )
    assert (answer.status_code, answer.json()["type"]) == refused


def test_files_of_another_version_are_not_sent(client: httpx.Client) -> None:
    """A page of another version of a node gets none of these files, rather than a mixture."""
    assert client.get("/console/0123456789abcdef/main.js").status_code == 404


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith(".js")])
def test_modules_import_files_that_are_there(name: str) -> None:
    """An import that leads nowhere would leave the page empty."""
    imported = re.findall(r'(?:from|import) "([^"]+)"', (FOLDER / name).read_text())
    assert {path.removeprefix("./") for path in imported} <= set(ASSETS)


@pytest.mark.parametrize("name", [*ASSETS, "index.html"])
def test_nothing_in_the_console_makes_markup_or_asks_elsewhere(name: str) -> None:
    """Values are shown as text, whatever is in them; no file names another host but in the namespace of SVG."""
    text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://|\sstyle=|\son\w+="
    )
    assert re.findall(forbidden, text) == []
