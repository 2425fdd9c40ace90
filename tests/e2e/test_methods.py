"""`HEAD` and `OPTIONS` on every path, and what a path says to a method that it does not know."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.e2e.endpoint import Endpoint, is_nginx

KEY_METHODS = "DELETE, GET, HEAD, OPTIONS, PUT"
READ_METHODS = "GET, HEAD, OPTIONS"
ALLOWED = {
    "/": READ_METHODS,
    "/batch": "OPTIONS, POST",
    "/cache/stats": READ_METHODS,
    "/docs": READ_METHODS,
    "/docs/": READ_METHODS,
    "/docs/assets/swagger-ui.css": READ_METHODS,
    "/docs/openapi.json": READ_METHODS,
    "/health": READ_METHODS,
    "/health/live": READ_METHODS,
    "/health/ready": READ_METHODS,
    "/keys": "DELETE, GET, HEAD, OPTIONS",
    "/kv": KEY_METHODS,
    "/kv?key=a": KEY_METHODS,
    "/kv/": KEY_METHODS,
    "/kv/a": KEY_METHODS,
    "/kv/a//b/": KEY_METHODS,
    "/kv/%2F": KEY_METHODS,
    "/kv/health": KEY_METHODS,
    "/metrics": READ_METHODS,
}
CHANGING = ("/cache/stats", "/health", "/metrics")
"""What is another size at the next moment."""


def exchange(node: Endpoint, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request on a connection of its own, and read all that comes back until its end."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, received.partition(b"\r\n\r\n")[2]


def alike(headers: dict[str, str]) -> dict[str, str]:
    """Return header fields without those that are new each time."""
    return {name: value for name, value in headers.items() if name not in ("date", "x-request-id", "cache-status")}


@pytest.mark.parametrize("target", [path for path, methods in ALLOWED.items() if "GET" in methods] + ["/nothing"])
def test_head_is_get_without_the_body(node: Endpoint, target: str) -> None:
    """`HEAD` is answered as `GET` is, with the same status and header fields, the length included, and without a body."""
    status, headers, body = exchange(node, "GET", target)
    of_head = exchange(node, "HEAD", target)
    assert of_head[0] == status
    assert of_head[2] == b""
    if target in CHANGING:
        assert int(of_head[1]["content-length"]) > 0
    else:
        assert alike(of_head[1]) == alike(headers)
        assert int(of_head[1]["content-length"]) == len(body)


def test_head_of_a_value_is_get_without_the_body(client: httpx.Client, node: Endpoint, key: str) -> None:
    """`HEAD` of a key tells its size, version, age and type in both forms, and that a key is missing."""
    client.put(f"/kv/{key}", content=b'"12345"', headers={"Content-Type": "application/json"}, params={"ack": "stored"})
    for target, size in ((f"/kv/{key}", 7), (f"/kv?key={key}", 26)):
        status, headers, body = exchange(node, "HEAD", target)
        assert (status, headers["content-length"], body) == (200, str(size), b"")
        assert alike(headers) == alike(exchange(node, "GET", target)[1])
        assert {"etag", "last-modified", "cache-control", "cache-status", "content-type"} <= headers.keys()
        assert exchange(node, "HEAD", target + "-missing")[0] == 404


@pytest.mark.parametrize(("target", "allowed"), ALLOWED.items())
def test_options_names_the_methods_of_a_path(node: Endpoint, target: str, allowed: str) -> None:
    """`OPTIONS` is answered with 204 and `Allow`, and with nothing that lets other origins in."""
    status, headers, body = exchange(node, "OPTIONS", target)
    assert (status, headers["allow"], body) == (204, allowed, b"")
    assert not {name for name in headers if name.startswith("access-control")}
    assert not {"content-length", "content-type"} & headers.keys()


@pytest.mark.parametrize(("target", "allowed"), ALLOWED.items())
def test_a_method_that_a_path_does_not_know_is_told_those_that_it_knows(
    node: Endpoint, target: str, allowed: str
) -> None:
    """405 has the same `Allow` as `OPTIONS`; each method that it lists is known, and none besides. NGINX refuses `TRACE` everywhere."""
    if is_nginx(node):
        assert exchange(node, "TRACE", target)[0] == 405
    for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", *(() if is_nginx(node) else ("TRACE",))):
        status, headers, _ = exchange(node, method, target)
        if method in allowed.split(", "):
            assert status != 405
        else:
            assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("target", ["/nothing", "/kvx", "/health/live/x", "/cache", "*"])
def test_options_on_a_path_that_is_not_there(node: Endpoint, target: str) -> None:
    """Where there is nothing, `OPTIONS` is 404 as every method is. NGINX takes no `*`."""
    assert exchange(node, "OPTIONS", target)[0] == (400 if is_nginx(node) and target == "*" else 404)


def test_options_reaches_no_handler(client: httpx.Client, key: str) -> None:
    """A value is still there after every method that is safe, and after those that are refused."""
    client.put(f"/kv/{key}", content=b"1", params={"ack": "stored"})
    for method in ("OPTIONS", "HEAD", "GET", "POST", "PATCH"):
        client.request(method, f"/kv/{key}")
    assert client.get(f"/kv/{key}").content == b"1"


@pytest.mark.one_process
def test_requests_are_counted_by_their_operation(client: httpx.Client) -> None:
    """In the metrics `HEAD` is what `GET` is; `OPTIONS`, and what no path or method is for, are no operation."""

    def counted(operation: str, status: int) -> float:
        name = f'kvcore_http_request_duration_seconds_count{{operation="{operation}",status="{status}"}}'
        lines = client.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)

    asked = {
        ("getLiveness", 200): ("HEAD", "/health/live"),
        ("getValue", 404): ("HEAD", "/kv?key=nothing"),
        ("getRawValue", 404): ("HEAD", "/kv/nothing"),
        ("none", 204): ("OPTIONS", "/kv"),
        ("none", 404): ("GET", "/nothing/here"),
        ("none", 405): ("POST", "/kv"),
    }
    before = {told: counted(*told) for told in asked}
    for method, path in asked.values():
        client.request(method, path)
    assert {told: counted(*told) - before[told] for told in asked} == dict.fromkeys(asked, 1.0)
