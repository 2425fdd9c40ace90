"""deploy/compose in Docker: it starts, does what it is there for, survives the loss of any container, and goes."""

from __future__ import annotations

import json
import stat
import subprocess
import uuid
from collections.abc import Mapping

import httpx
import pytest

from kvcore.testing.servers.process import wait_until
from tests.compose.stack import Stack

pytestmark = pytest.mark.timeout(1800)  # the first test waits for images to be built, and everything to start

_RECOVERS_WITHIN_S = 60.0
_REQUESTS = 5
_ASK_SENTINEL = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli -p 26379 sentinel get-master-addr-by-name kvcore | head -n 1'
_LIST_DISTRIBUTIONS = """python -c "
import importlib.metadata, json
print(json.dumps({one.name: one.version for one in importlib.metadata.distributions()}))
" """
_ONLY_ON_PYTHON_3_11 = {"async-timeout"}
"""What newer interpreters have of their own, so that constraints.txt does not name it."""


def test_the_start_says_where_everything_is(stack: Stack) -> None:
    """`./start.sh production` has passed its smoke tests and printed every endpoint, and no secret."""
    for path in ("/kv ", "/docs\n", "/health\n"):
        assert f"{stack.url}{path}" in stack.said
    assert "RabbitMQ " in stack.said
    assert "Prometheus " in stack.said
    assert not [file.name for file in stack.secrets.glob("*_*") if file.read_text().strip() in stack.said]


def test_secrets_are_for_their_owner(stack: Stack) -> None:
    """Nobody but the owner gets into the folder of secrets."""
    assert stat.S_IMODE(stack.secrets.stat().st_mode) == 0o700


def test_the_image_has_what_was_checked(stack: Stack, constraints: Mapping[str, str]) -> None:
    """Every distribution in the image has the version that the checks run with."""
    found: dict[str, str] = json.loads(stack.run_in("api-1", _LIST_DISTRIBUTIONS))
    own = {name for name in found if name.startswith("kvcore")}
    others = {name.lower().replace("_", "-"): version for name, version in found.items() if name not in own}
    assert {"kvcore", "kvcore-cache-redis", "kvcore-queue-rabbitmq", "kvcore-store-cockroach"} <= own
    assert {name: version for name, version in others.items() if name not in _ONLY_ON_PYTHON_3_11} == {
        name: constraints.get(name) for name in others if name not in _ONLY_ON_PYTHON_3_11
    }


def test_a_container_can_change_nothing(stack: Stack) -> None:
    """A node is not root, has no capability, and writes nowhere but to /tmp."""
    assert stack.run_in("api-1", "id -u; id -g").split() == ["10001", "10001"]
    assert stack.run_in("api-1", "grep -E 'CapEff|NoNewPrivs' /proc/1/status").split() == [
        *("CapEff:", "0000000000000000"),
        *("NoNewPrivs:", "1"),
    ]
    written = "/var/lib/kvcore/a /opt/kvcore/a /a"
    assert stack.run_in("api-1", f"(touch {written}; ls {written}) 2>/dev/null || true") == ""
    assert stack.run_in("api-1", "touch /tmp/a && ls /tmp/a") == "/tmp/a"  # noqa: S108 - the container's own


def test_the_image_has_no_tools(stack: Stack) -> None:
    """There is no compiler, no pip beside kvcore, and no test in the image."""
    script = "command -v gcc cc make git; ls -d /opt/kvcore/bin/pip* /source; find /opt/kvcore -path '*/site-packages/kvcore*/tests'"
    assert stack.run_in("api-1", f"({script}) 2>/dev/null || true") == ""


@pytest.mark.parametrize("kind", ["api-1", "worker", "the redis master", "sentinel-1", "rabbitmq-1"])
def test_requests_go_on_while_a_container_is_dead(stack: Stack, client: httpx.Client, kind: str) -> None:
    """Values are read without a failure, and soon written again, while one container of a kind is dead; then all is healthy."""
    service = _redis_master(stack) if kind == "the redis master" else kind
    key = _write(client)
    with stack.killed(service):
        assert [_read(client, key) for _ in range(_REQUESTS)] == [200] * _REQUESTS
        wait_until(lambda: bool(_write(client)), within_s=_RECOVERS_WITHIN_S, what="values are written")
        assert all(_write(client) for _ in range(_REQUESTS))
    wait_until(lambda: _status(client) == "healthy", within_s=_RECOVERS_WITHIN_S, what="everything is healthy")


def test_a_former_master_comes_back_as_a_replica(stack: Stack, client: httpx.Client) -> None:
    """A Redis master that was killed asks the Sentinels at its next start, and follows the one that took its place."""
    former = _redis_master(stack)
    with stack.killed(former):
        wait_until(
            lambda: _redis_master(stack) != former, within_s=_RECOVERS_WITHIN_S, what="another one is the master"
        )
    script = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli info replication'
    assert "role:slave" in stack.run_in(former, script)
    wait_until(lambda: _status(client) == "healthy", within_s=_RECOVERS_WITHIN_S, what="everything is healthy")


def test_writes_are_accepted_while_the_database_is_dead(stack: Stack, client: httpx.Client) -> None:
    """A write without the database is accepted by the queue, and is there once the database is back."""
    key = str(uuid.uuid4())
    with stack.killed("postgresql"):
        answer = client.put(f"/kv/{key}", content=b"kept")
        assert answer.status_code == 202
    version = answer.headers["ETag"].strip('"')

    def is_stored() -> bool:
        fresh = client.get(f"/kv/{key}", headers={"Cache-Control": "no-cache"}, params={"min_version": version})
        return fresh.content == b"kept"

    wait_until(is_stored, within_s=_RECOVERS_WITHIN_S, what="the write is in the store")


def test_nginx_starts_while_a_node_is_dead(stack: Stack, client: httpx.Client) -> None:
    """NGINX can be killed and started although one of its nodes is not there, and finds that node when it is back."""
    key = _write(client)
    with stack.killed("api-2"):
        with stack.killed("nginx"):
            pass
        assert [_read(client, key) for _ in range(_REQUESTS)] == [200] * _REQUESTS
    served_by = set()

    def all_serve() -> bool:
        served_by.add(client.get("/health").json()["node"])
        return len(served_by) == 3

    wait_until(all_serve, within_s=_RECOVERS_WITHIN_S, what="all three nodes are asked")


def test_down_leaves_nothing_but_volumes_and_secrets(stack: Stack) -> None:
    """After `./start.sh production down` there is no container and no network; started again, the data and the token are there."""
    with stack.client() as client:
        key = _write(client)
    secrets = {file.name: file.read_text() for file in stack.secrets.glob("*_*")}
    ended = stack.production("down")
    assert ended.returncode == 0, ended.stderr
    assert (stack.remains("ps --all"), stack.remains("network ls")) == ([], [])
    assert stack.remains("volume ls")
    stack.start()
    assert {file.name: file.read_text() for file in stack.secrets.glob("*_*")} == secrets
    with stack.client() as client:
        assert _read(client, key) == 200


def test_tls(stack: Stack) -> None:
    """With docker-compose.tls.yml the smoke tests pass by TLS, with a certificate that they verify; plain HTTP leads there."""
    certificate, key = stack.secrets / "tls_certificate", stack.secrets / "tls_key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={stack.tls_name}", "-addext", f"subjectAltName=DNS:{stack.tls_name}"]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    key.chmod(0o444)
    try:
        started = stack.production(tls=True)
        assert started.returncode == 0, started.stderr[-4000:]
        assert f"{stack.tls_url}/docs\n" in started.stdout
        with stack.client() as client:
            redirected = client.get("/docs")
        assert redirected.headers["Location"].startswith("https://")
    finally:
        stack.start()


def test_what_it_does_not_know_is_refused(stack: Stack) -> None:
    """`./start.sh production` says how it is used instead of guessing."""
    refused = stack.production("dwon")
    assert refused.returncode == 1
    assert "usage: ./start.sh production [down]" in refused.stderr


def _write(client: httpx.Client) -> str | None:
    """Return the key of a value that is in the store, or None where the write was refused."""
    key = str(uuid.uuid4())
    answer = client.put(f"/kv/{key}", params={"ack": "stored"}, content=b"value")
    return key if answer.status_code == 200 else None


def _read(client: httpx.Client, key: str | None) -> int:
    assert key is not None
    return client.get(f"/kv/{key}").status_code


def _status(client: httpx.Client) -> str:
    return str(client.get("/health").json()["status"])


def _redis_master(stack: Stack) -> str:
    """Return the service that the Sentinels say is the master: its address ends with 151, 152 or 153."""
    address = stack.run_in("sentinel-2", _ASK_SENTINEL)
    return f"redis-{int(address.rpartition('.')[2]) - 150}"
