"""No token and no password stands in anything that a node, a worker or `kvctl` writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess, running_node, running_worker
from kvcore.testing.production import production_settings
from kvcore.testing.servers import Database, RabbitCluster, RedisServers
from kvcore.tokens import digest_of, new_token

PASSWORDS = ("cache.redis.password", "queue.rabbitmq.password", "store.cockroach.password")
GOOD, OVER, BAD = "good", "over", "bad"


@pytest.fixture
def tokens() -> dict[str, str]:
    """Give a token that is known, one that has expired, and one that is not known."""
    return {name: new_token() for name in (GOOD, OVER, BAD)}


@pytest.fixture
def file(tokens: Mapping[str, str], tmp_path: Path) -> Path:
    """Give a file of those that are, or were, known."""
    path = tmp_path / "tokens.toml"
    path.write_text(entry(GOOD, tokens) + entry(OVER, tokens) + "expires = 2020-01-01T00:00:00Z\n", encoding="utf-8")
    return path


def entry(name: str, tokens: Mapping[str, str]) -> str:
    """Return what a file says of a token."""
    digest = digest_of(tokens[name]).hex()
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest}"\nscopes = ["read", "write", "admin"]\n'


def secrets_of(tokens: Mapping[str, str], settings: Mapping[str, str]) -> set[str]:
    """Return what must not be seen: tokens, their digests, and halves of both; and the servers' passwords."""
    whole = {*tokens.values(), *(digest_of(token).hex() for token in tokens.values())}
    halves = {text[:24] for text in whole} | {text[-24:] for text in whole}
    return whole | halves | {settings[path] for path in PASSWORDS if path in settings}


def kvctl(*arguments: str) -> str:
    """Run a command, and return all that it writes."""
    done = subprocess.run([sys.executable, "-m", "kvcore.cli", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def flags(settings: Mapping[str, str]) -> list[str]:
    """Return settings as arguments."""
    return [text for path, value in settings.items() for text in ("--set", f"{path}={value}")]


def session(node: NodeProcess, tokens: Mapping[str, str]) -> list[str]:
    """Send requests of every kind with good, bad and misplaced tokens; return all that is answered."""
    fields: list[dict[str, str]] = [{}]
    for token in tokens.values():
        fields += [
            {"authorization": f"{scheme} {token}"} for scheme in ("Bearer", "bearer", "Basic", "Token", "Bearer Bearer")
        ]
        fields += [{"authorization": token}, {"authorization": f"Bearer {token[:-1]}"}, {"cookie": f"token={token}"}]
        fields += [{"authorization": f"Bearer {token}", "x-request-id": "mine", "if-match": "nonsense"}]
    requests = [
        ("GET", "/kv?key=a", ""),
        ("GET", "/kv?nonsense=1", ""),
        ("PUT", "/kv", '{"data": {"key": "a", "value": 1}}'),
        ("PUT", "/kv", "{"),
        ("PUT", "/kv/a", "1"),
        ("POST", "/batch", '{"operations": []}'),
        ("GET", "/keys?prefix=a", ""),
        ("GET", "/admin/nothing", ""),
        *(("GET", f"/admin/{path}", "") for path in ("config", "plugins", "queue", "dead-letters")),
        ("POST", "/admin/purge", "{}"),
        ("BREW", "/nothing", ""),
        *(("GET", path, "") for path in ("/health", "/metrics", "/cache/stats", "/docs/openapi.json", "/")),
    ]
    with httpx.Client(base_url=node.url, timeout=30) as client:
        answers = [
            client.request(method, path, content=body or None, headers=headers | {"content-type": "application/json"})
            for headers in fields
            for method, path, body in requests
        ]
    assert {200, 401} <= {answer.status_code for answer in answers}
    return [f"{answer.headers.multi_items()} {answer.text}" for answer in answers]


def assert_unseen(secrets: Iterable[str], written: Iterable[str]) -> None:
    """Check that nothing that was written holds any of the secrets; a failure does not repeat it either."""
    text = "\n".join(written)
    assert len(text) > 1000
    assert [f"{secret[:6]}… in …{text[max(0, text.find(secret) - 80) : text.find(secret)]}"
            for secret in secrets if secret in text] == []  # fmt: skip


def watch(settings: dict[str, str], tokens: dict[str, str], file: Path, workers: Iterable[NodeProcess] = ()) -> None:
    """Run a node through a session, with a file of tokens that breaks meanwhile, and look at all that is written."""
    with running_node(settings) as node:
        written = session(node, tokens)
        # A token where a digest should be, as happens by mistake: what the log says of it must not repeat it.
        file.write_text(
            file.read_text(encoding="utf-8").replace(digest_of(tokens[GOOD]).hex(), tokens[GOOD]), encoding="utf-8"
        )
        written += until_told(node, tokens)
        node.stop()
        written += node.lines
    for command in (["config", "show"], ["config", "show", "--json"], ["config", "check"], ["token", "list"]):
        written.append(kvctl(*command, *flags(settings)))
    inline = f'[{{"name": "one", "sha256": "{tokens[BAD]}", "scopes": ["read"]}}]'
    written.append(kvctl("config", "show", "--set", f"auth.tokens={inline}"))
    assert_unseen(secrets_of(tokens, settings), written)


def until_told(node: NodeProcess, tokens: Mapping[str, str]) -> list[str]:
    """Ask until the node has seen that its file is broken; return what it answers."""
    answers = []
    with httpx.Client(base_url=node.url, timeout=30) as client:
        for _ in range(10_000):
            answers.append(client.get("/kv?key=a", headers={"authorization": f"Bearer {tokens[GOOD]}"}).text)
            if any("stays in force" in line for line in node.lines):
                return answers
    raise AssertionError("the node has not said that its file of tokens is broken")


@pytest.mark.parametrize("profile", ["memory", "embedded"])
def test_no_token_is_shown(profile: str, tokens: dict[str, str], file: Path, tmp_path: Path) -> None:
    """Not in answers, logs, metrics or listings, for good, bad, expired, broken and misplaced ones."""
    settings = {"profile": profile, "auth.file": str(file)}
    if profile == "embedded":
        settings["store.sqlite.path"] = str(tmp_path / "kv.db")
    watch(settings, tokens, file)


def test_no_token_and_no_password_is_shown_in_production(
    redis_servers: RedisServers,
    rabbitmq_cluster: RabbitCluster,
    database: Database,
    tokens: dict[str, str],
    file: Path,
) -> None:
    """The servers' passwords neither, and a worker tells as little, and asks for tokens where it is told to."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="secrets")
    settings |= {"auth.file": str(file), "auth.open_metrics": "false"}
    assert {"cache.redis.password", "queue.rabbitmq.password"} <= settings.keys()
    with running_worker(settings) as worker:
        statuses = {}
        answers = []
        for name, headers in {
            "none": {},
            **{name: {"authorization": f"Bearer {text}"} for name, text in tokens.items()},
        }.items():
            for path in ("/metrics", "/health"):
                answers.append(httpx.get(worker.url + path, headers=headers))
                statuses[name, path] = answers[-1].status_code
        assert {name for (name, path), status in statuses.items() if status == 200 and path == "/metrics"} == {GOOD}
        assert {status for (_, path), status in statuses.items() if path == "/health"} == {200}
        watch(settings, tokens, file)
        worker.stop()
    written = [f"{answer.headers} {answer.text}" for answer in answers] + worker.lines
    assert_unseen(secrets_of(tokens, settings), written)


def test_a_password_that_the_server_refuses_is_not_shown(
    redis_servers: RedisServers, rabbitmq_cluster: RabbitCluster, database: Database, tmp_path: Path
) -> None:
    """Nor what a driver says about it: the node starts, says that its tiers are down, and `kvctl doctor` says why."""
    settings = production_settings(redis_servers, rabbitmq_cluster, database, name="wrong")
    settings |= {path: f"not-the-password-{number}" for number, path in enumerate(PASSWORDS)}
    with running_node(settings) as node:
        with httpx.Client(base_url=node.url, timeout=30) as client:
            written = [client.get(path).text for path in ("/health", "/metrics", "/kv?key=a")]
            written.append(client.put("/kv", json={"data": {"key": "a", "value": 1}}).text)
        node.stop()
        written += node.lines
    assert '"down"' in written[0]
    written.append(kvctl("doctor", *flags(settings)))
    assert_unseen(secrets_of({}, settings), written)
