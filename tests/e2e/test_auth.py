"""Who may do what, asked of a running node: scopes, prefixes, what is open, and refusals that tell nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from kvcore.testing import eventually
from kvcore.testing.nodes import NodeProcess, running_node
from kvcore.tokens import digest_of, new_token

TOKENS: dict[str, tuple[list[str], list[str], str]] = {
    "reader": (["read"], [""], ""),
    "writer": (["write"], [""], ""),
    "both": (["read", "write"], [""], ""),
    "a-reader": (["read"], ["a/"], ""),
    "a-writer": (["write"], ["a/"], ""),
    "a-both": (["read", "write"], ["a/", "c/"], ""),
    "admin": (["admin"], [""], ""),
    "a-admin": (["admin"], ["a/"], ""),
    "over": (["read", "write", "admin"], [""], "2020-01-01T00:00:00Z"),
}
JSON = {"content-type": "application/json"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - for as long as a test runs, and with nothing in it


class Case(NamedTuple):
    """A request, and the statuses with which it is answered to the holders of tokens."""

    method: str
    target: str
    content: bytes
    granted: int
    allowed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.content.decode()}".strip()


def put(key: str) -> bytes:
    """Return the body of a write."""
    return b'{"data": {"key": "%s", "value": 1}}' % key.encode()


READ_ALL = ("reader", "both")
WRITE_ALL = ("writer", "both")
READ_A = (*READ_ALL, "a-reader", "a-both")
WRITE_A = (*WRITE_ALL, "a-writer", "a-both")
ANYONE = tuple(name for name in TOKENS if name != "over")

CASES = [
    Case("GET", "/kv?key=a/1", b"", 200, READ_A),
    Case("GET", "/kv?key=a/missing", b"", 404, READ_A),
    Case("GET", "/kv?key=b/1", b"", 200, READ_ALL),
    Case("GET", "/kv?key=b/missing", b"", 404, READ_ALL),
    Case("GET", "/kv?key=a", b"", 404, READ_ALL),
    Case("HEAD", "/kv?key=a/1", b"", 200, READ_A),
    Case("HEAD", "/kv?key=b/1", b"", 200, READ_ALL),
    Case("PUT", "/kv", put("a/2"), 200, WRITE_A),
    Case("PUT", "/kv", put("b/2"), 200, WRITE_ALL),
    Case("DELETE", "/kv?key=a/3", b"", 200, WRITE_A),
    Case("DELETE", "/kv?key=b/3", b"", 200, WRITE_ALL),
    Case("GET", "/kv/a%2F1", b"", 200, READ_A),
    Case("GET", "/kv/a/1", b"", 200, READ_A),
    Case("GET", "/kv/b/1", b"", 200, READ_ALL),
    Case("GET", "/kv//a/1", b"", 404, READ_ALL),
    Case("GET", "/kv/a%252F1", b"", 404, READ_ALL),
    Case("HEAD", "/kv/a/1", b"", 200, READ_A),
    Case("HEAD", "/kv/b/1", b"", 200, READ_ALL),
    Case("PUT", "/kv/a/4", b"{}", 200, WRITE_A),
    Case("PUT", "/kv/b/4", b"{}", 200, WRITE_ALL),
    Case("DELETE", "/kv/a/5", b"", 200, WRITE_A),
    Case("DELETE", "/kv/b/5", b"", 200, WRITE_ALL),
    Case("GET", "/keys?prefix=a/", b"", 200, READ_A),
    Case("GET", "/keys?prefix=a/b", b"", 200, READ_A),
    Case("GET", "/keys?prefix=c/", b"", 200, (*READ_ALL, "a-both")),
    Case("GET", "/keys?prefix=a", b"", 200, READ_ALL),
    Case("GET", "/keys?prefix=", b"", 200, READ_ALL),
    Case("GET", "/keys", b"", 200, READ_ALL),
    Case("GET", "/keys?prefix=a/&values=true", b"", 200, READ_A),
    Case("DELETE", "/keys?prefix=a/d/", b"", 200, WRITE_A),
    Case("DELETE", "/keys?prefix=b/d/", b"", 200, WRITE_ALL),
    Case("GET", "/cache/stats", b"", 200, ANYONE),
    Case("GET", "/admin/nothing", b"", 404, ("admin",)),
    Case("POST", "/admin/nothing", b"", 404, ("admin",)),
    Case("GET", "//admin//nothing", b"", 404, ("admin",)),
    *(
        Case("GET", f"/admin/{path}", b"", 200, ("admin",))
        for path in ("config", "plugins", "queue", "queue/lag", "dead-letters")
    ),
    Case("GET", "/admin/dead-letters/none", b"", 404, ("admin",)),
    *(Case("POST", f"/admin/{path}", b"{}", 200, ("admin",)) for path in ("cache/clear", "purge")),
    *(
        Case("POST", f"/admin/dead-letters/{what}", b'{"ids": ["none"]}', 200, ("admin",))
        for what in ("replay", "discard")
    ),
    Case(
        "POST",
        "/admin/restore",
        b'{"entries": [{"key": "a/8", "value": 1, "version": "%s"}]}' % (b"0" * 22 + b"10"),
        200,
        ("admin",),
    ),
    Case("GET", "/nothing", b"", 404, READ_ALL),
    Case("POST", "/nothing", b"", 404, WRITE_ALL),
    Case("OPTIONS", "/kv", b"", 204, ANYONE),
    Case("POST", "/batch", b'{"operations": [{"op": "put", "key": "a/6", "value": 1}]}', 200, (*READ_A, *WRITE_A)),
    *(
        Case("GET", target, b"", 200, (*TOKENS, "none", "wrong"))
        for target in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/docs/openapi.json", "/")
    ),
]


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    """Give the text of each token."""
    return {name: new_token() for name in TOKENS}


@pytest.fixture(scope="module")
def file(tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file that lists them."""
    path: Path = tmp_path_factory.mktemp("auth") / "tokens.toml"
    path.write_text("\n".join(entry(name, text) for name, text in tokens.items()), encoding="utf-8")
    return path


def entry(name: str, text: str) -> str:
    """Return what a file says of a token."""
    scopes, prefixes, expires = TOKENS[name]
    lines = (
        f'[[tokens]]\nname = "{name}"\nsha256 = "{digest_of(text).hex()}"\nscopes = {scopes}\nprefixes = {prefixes}\n'
    )
    return lines + (f"expires = {expires}\n" if expires else "")


@pytest.fixture(scope="module")
def guarded(file: Path, tokens: dict[str, str]) -> Iterator[httpx.Client]:
    """Give a client of a node that asks for them, and has two keys."""
    settings = {"profile": "memory", "auth.file": str(file)}
    with running_node(settings) as node, httpx.Client(base_url=node.url, timeout=30) as client:
        for key in ("a/1", "b/1"):
            ask(client, Case("PUT", "/kv", put(key), 200, ()), tokens["both"]).raise_for_status()
        yield client


def ask(client: httpx.Client, case: Case, token: str | None) -> httpx.Response:
    """Send a request, whose target goes out as it is written."""
    headers = (JSON if case.content else {}) | ({} if token is None else {"authorization": f"Bearer {token}"})
    url = str(client.base_url).removesuffix("/") + case.target
    return client.request(case.method, url, content=case.content or None, headers=headers)


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """Return all that an answer tells, but for what is different each time."""
    fields = [pair for pair in answer.headers.multi_items() if pair[0] not in ("date", "x-request-id")]
    return answer.status_code, fields, answer.content


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_token_may_do_what_its_scopes_and_prefixes_say(
    guarded: httpx.Client, tokens: dict[str, str], case: Case
) -> None:
    """Whoever is allowed is answered; of the others those who are known get 403, those who are not 401."""
    callers: dict[str, str | None] = {**tokens, "none": None, "wrong": new_token()}
    expected = {
        name: case.granted if name in case.allowed else 401 if name in ("none", "wrong", "over") else 403
        for name in callers
    }
    assert {name: ask(guarded, case, token).status_code for name, token in callers.items()} == expected


def test_each_operation_of_a_batch_is_looked_at(guarded: httpx.Client, tokens: dict[str, str]) -> None:
    """What is not allowed is refused by itself, the same for keys that are there and for those that are not."""
    keys = ("a/7", "b/1", "b/missing", "a")
    operations = [f'{{"op": "{op}", "key": "{key}"{value}}}' for op, value in (("put", ', "value": 1'), ("get", ""), ("delete", ""))
                  for key in keys]  # fmt: skip
    for name, allowed in (("a-reader", {"get"}), ("a-writer", {"put", "delete"}), ("a-both", {"put", "get", "delete"})):
        for number, operation in enumerate(operations):
            body = f'{{"operations": [{operation}]}}'.encode()
            (result,) = ask(guarded, Case("POST", "/batch", body, 200, ()), tokens[name]).json()["data"]
            is_allowed = keys[number % len(keys)] == "a/7" and operation[8:].partition('"')[0] in allowed
            assert (result["status"] == 403) is not is_allowed, (name, operation)
            assert result["status"] != 403 or set(result) == {"status", "key", "problem"}


def test_all_refusals_are_alike(guarded: httpx.Client, tokens: dict[str, str]) -> None:
    """401 and 403 say the same bytes for every path, whatever was wrong, and whether the key exists."""
    by_status: dict[int, set[str]] = {401: set(), 403: set()}
    for case in CASES:
        if case.method == "HEAD" or case.granted == 204:
            continue
        for token in (None, ".", "x", new_token(), tokens["over"], tokens["a-reader"][:-1], *tokens.values()):
            answer = ask(guarded, case, token)
            if answer.status_code in by_status:
                by_status[answer.status_code].add(repr(told(answer)))
    assert {status: len(kinds) for status, kinds in by_status.items()} == {401: 1, 403: 1}


@pytest.mark.parametrize("scheme", ["basic", "none"])
def test_a_refusal_says_how_to_authenticate(guarded: httpx.Client, scheme: str) -> None:
    """401 carries WWW-Authenticate, without a word on what was wrong."""
    headers = {} if scheme == "none" else {"authorization": "Basic a2V5OnZhbHVl"}
    answer = guarded.get("/kv?key=a/1", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="kvcore"')
    assert answer.json()["type"] == "/problems/unauthenticated"


def test_a_body_that_may_not_be_sent_is_not_read(guarded: httpx.Client, tokens: dict[str, str]) -> None:
    """A write without the scope is refused before its body is looked at, whatever that is."""
    for path in ("/kv", "/kv/a/1"):
        answer = ask(guarded, Case("PUT", path, b"\xff" * 100_000, 200, ()), tokens["reader"])
        assert answer.status_code == 403


def contents(file: Path) -> str:
    """Return what stands in a file."""
    return file.read_text(encoding="utf-8")


def write(file: Path, text: str) -> None:
    """Replace what stands in a file."""
    file.write_text(text, encoding="utf-8")


async def test_a_token_comes_and_goes_without_a_restart(guarded: httpx.Client, file: Path) -> None:
    """What is added to the file is known, and what is removed is refused, soon after."""
    before = contents(file)
    TOKENS["guest"] = (["read"], ["a/"], "")
    text = new_token()
    statuses: list[int] = []

    async def answered(status: int) -> bool:
        statuses.append(ask(guarded, Case("GET", "/kv?key=a/1", b"", 200, ()), text).status_code)
        return statuses[-1] == status

    try:
        assert await answered(401)
        write(file, before + entry("guest", text))
        await eventually(lambda: answered(200))
        write(file, before)
        await eventually(lambda: answered(401))
    finally:
        del TOKENS["guest"]
        write(file, before)
    assert set(statuses) == {200, 401}


async def test_a_broken_file_is_counted_and_locks_nobody_out(
    guarded: httpx.Client, file: Path, tokens: dict[str, str]
) -> None:
    """The tokens stay in force, and the metric says that the file needs somebody."""
    before = contents(file)
    read = Case("GET", "/kv?key=a/1", b"", 200, ())

    def errors() -> float:
        assert ask(guarded, read, tokens["reader"]).status_code == 200
        lines = guarded.get("/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith("kvcore_auth_file_errors_total ")]
        return float(line.split()[1])

    async def one_more() -> bool:
        return errors() == count + 1

    count = errors()
    try:
        write(file, "[[tokens]")
        await eventually(one_more)
    finally:
        write(file, before)


def test_what_is_open_can_be_closed(file: Path, tokens: dict[str, str]) -> None:
    """With each of the settings off, only the probes are left open; any token opens the rest."""
    settings = {f"auth.open_{name}": "false" for name in ("health", "metrics", "docs", "console")}
    settings |= {"profile": "memory", "auth.file": str(file)}
    with running_node(settings) as node, httpx.Client(base_url=node.url, timeout=30) as client:
        for case in CASES[-7:]:
            is_probe = case.target in ("/health/live", "/health/ready")
            statuses = [ask(client, case, token).status_code for token in (None, tokens["over"], tokens["a-writer"])]
            assert statuses == ([200] * 3 if is_probe else [401, 401, 200]), case


def test_a_node_that_everybody_could_reach_does_not_start() -> None:
    """Beyond loopback, tokens are asked for, or it is written down that they are not."""
    with pytest.raises(RuntimeError, match=r"no tokens are configured.*auth\.mode = \"none\""):
        NodeProcess({"profile": "memory", "http.host": EVERYWHERE})
    with running_node({"profile": "memory", "http.host": EVERYWHERE, "auth.mode": "none"}) as node:
        answer = httpx.get(f"http://127.0.0.1:{node.port}/kv?key=a", headers={"host": "any.example"})
        assert answer.status_code == 404


def test_an_open_node_answers_to_its_own_names_only() -> None:
    """A web page under a name that leads to 127.0.0.1 gets nothing of a node that asks for no token."""
    hosts = {"evil.example": 421, "kv.example:80": 404, "localhost": 404, "[::1]:1": 404}
    with running_node({"profile": "memory", "http.hosts": '["kv.example"]'}) as node:
        found = {host: httpx.get(f"{node.url}/kv?key=a", headers={"host": host}).status_code for host in hosts}
    assert found == hosts
