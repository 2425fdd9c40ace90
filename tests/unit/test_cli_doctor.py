"""What `kvctl doctor --url` makes of what running nodes and workers answer."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from kvcore.backends import Finding
from kvcore.cli._running.judging import judged
from kvcore.cli._running.looking import Look, look_at_all
from kvcore.cli._running.samples import Samples
from kvcore.client import Backend, Channel, Health, Limits, Plugin, Plugins, QueueStats, Setting, Tier
from kvcore.errors import KvcoreError, RequestError, UnauthenticatedError, UnavailableError, UnsupportedError
from tests.unit.answering import FakeNode, Handler

A, B, C = "http://a:8000", "http://b:8000", "http://c:8001"
REFUSED = UnauthenticatedError("give a token")
NOT_THERE = RequestError("there is nothing at this path")
AWAY = UnavailableError("no node answers")


def tier(**members: Any) -> Tier:
    """Return a tier that is well, but for these."""
    return Tier(
        **{"status": "up", "backend": "redis", "ping_ms": 0.1, "breaker": "closed", "server": "Redis at x", **members}
    )


def health(status: str = "healthy", *, version: str = "1.0", is_worker: bool = False, **tiers: Tier) -> Health:
    """Return the health of a node or worker."""
    components = {"cache": tier(), "queue": tier(), "store": tier()} | tiers
    limits = None if is_worker else Limits(max_key_bytes=1, max_value_bytes=1)
    return Health(status=status, components=components, version=version, node="a1", profile="production", limits=limits)


def settings(**values: Any) -> list[Setting]:
    """Return settings in force; two underscores stand for a dot."""
    found = {
        "cache__backend": "redis",
        "queue__backend": "rabbitmq",
        "store__backend": "cockroach",
        "worker__in_node": False,
        **values,
    }
    return [Setting(setting=name.replace("__", "."), value=value, source="default") for name, value in found.items()]


SHARED = Plugins(
    loaded=[
        Plugin(
            name="all",
            distribution="all 1",
            hooks=[],
            backends=[
                Backend(kind=kind, name=name, abilities=["shared"])
                for kind, name in (("cache", "redis"), ("queue", "rabbitmq"), ("store", "cockroach"))
            ]
            + [Backend(kind="store", name="sqlite", abilities=["durable"])],
        )
    ],
    broken=[],
)


def look(url: str = A, **members: Any) -> Look:
    """Return a look at a node at which all is well, but for these."""
    well: dict[str, Any] = {
        "is_ready": True,
        "health": health(),
        "metrics": Samples(""),
        "settings": settings(),
        "plugins": SHARED,
        "queue": QueueStats(channels={"writes": Channel(waiting=0, consumers=1)}, dead_letters=0),
        "lag_s": 0.004,
        "ahead_ms": 20,
    }
    return Look(url=url, **{**well, **members})


def worker(url: str = C, **members: Any) -> Look:
    """Return a look at a worker, which has no API but health and metrics."""
    nothing = dict.fromkeys(("settings", "plugins", "queue", "lag_s"), NOT_THERE)
    return look(url, **{"health": health(is_worker=True), **nothing, **members})


def found(*looks: Look) -> list[Finding]:
    """Return what is not well."""
    return [one for part in judged(looks) for one in part.findings if one.level != "ok"]


def only(*looks: Look) -> Finding:
    """Return the one thing that is not well; it is told with evidence and remedy."""
    (finding,) = found(*looks)
    assert finding.evidence
    assert finding.remedy
    return finding


def test_a_cluster_in_which_all_is_well_has_nothing_but_good_findings() -> None:
    """Each node by itself, and then all together."""
    parts = judged([look(A), look(B), worker()])
    assert [part.url for part in parts] == [A, B, C, None]
    assert {finding.level for part in parts for finding in part.findings} == {"ok"}


@pytest.mark.parametrize(
    ("answer", "what"), [(AWAY, "no node answers here"), (NOT_THERE, "what answers here is no node")]
)
def test_a_node_that_does_not_answer_is_one_error(answer: KvcoreError, what: str) -> None:
    """Not one for each question that it did not answer; and the others are looked at."""
    parts = dict.fromkeys(("is_ready", "health", "metrics", "settings", "plugins", "queue", "lag_s"), answer)
    finding = only(look(A, **parts, ahead_ms=None), look(B))
    assert (finding.level, finding.what) == ("error", what)


def test_a_node_that_takes_no_requests_is_told() -> None:
    """It answers, and load balancers pass it by."""
    assert only(look(is_ready=False)).about == "readiness"
    assert only(look(is_ready=AWAY)).level == "error"


@pytest.mark.parametrize(("status", "level"), [("degraded", "warning"), ("unhealthy", "error")])
def test_a_tier_that_is_down_is_named_with_its_reason(status: str, level: str) -> None:
    """The node says why; where to look is the remedy."""
    finding = only(look(health=health(status, store=tier(status="down", detail="refused by x"))))
    assert (finding.level, finding.evidence) == (level, "store (redis): refused by x")


def test_open_breakers_are_named() -> None:
    """By what the health says, and by what any process of the node shows in its metrics."""
    metrics = Samples('kvcore_breaker_open{tier="cache"} 1\nkvcore_breaker_open{tier="queue"} 0\n')
    finding = only(look(health=health(store=tier(breaker="half-open")), metrics=metrics))
    assert finding.what == "not closed: cache, store"


@pytest.mark.parametrize(("ahead_s", "level"), [(1.5, "warning"), (70.0, "error")])
def test_a_clock_that_is_behind_the_versions_is_told(ahead_s: float, level: str) -> None:
    """An error from where writes are refused."""
    finding = only(look(metrics=Samples(f"kvcore_clock_ahead_seconds {ahead_s}\n")))
    assert (finding.about, finding.level) == ("clock", level)
    assert "60 s" in finding.remedy


def test_a_worker_that_cannot_store_is_told() -> None:
    """By the age of the oldest write in its hands."""
    assert only(look(), worker(metrics=Samples("kvcore_lag_oldest_seconds 61\n"))).about == "lag"


def test_writes_that_do_not_get_through_are_an_error() -> None:
    """The probe was not back; a node without a queue has no lag, which is no finding."""
    assert only(look(lag_s=UnavailableError("not back within 5 s"))).level == "error"
    no_queue = UnsupportedError("this node runs without a queue")
    without = msgspec.structs.replace(health(), components={"cache": tier(), "store": tier()})
    assert found(look(health=without, lag_s=no_queue, queue=no_queue)) == []


def test_what_a_token_is_missing_for_is_said() -> None:
    """Settings and queue are for operators; what a worker does not have is not missed."""
    refused: dict[str, Any] = dict.fromkeys(("settings", "plugins", "queue", "lag_s"), REFUSED)
    findings = found(look(**refused), worker())
    assert [one.about for one in findings] == ["not looked at", "not looked at"]
    assert all("--token-file" in one.remedy for one in findings)


def test_different_versions_are_told() -> None:
    """With who has which."""
    assert only(look(A), look(B, health=health(version="1.1"))).evidence == f"1.0: {A}; 1.1: {B}"


@pytest.mark.parametrize(
    ("setting", "level"),
    [
        ("cache__ttl_s", "warning"),
        ("cache__pending_ttl_s", "warning"),
        ("limits__max_value_bytes", "warning"),
        ("store__tombstone_retention_s", "warning"),
        ("clock__max_ahead_s", "warning"),
        ("cache__redis__namespace", "error"),
        ("cache__redis__database", "error"),
        ("queue__rabbitmq__prefix", "error"),
        ("store__cockroach__database", "error"),
    ],
)
def test_settings_that_must_agree_and_do_not_are_told(setting: str, level: str) -> None:
    """An error where data may be in different places; with who has which value."""
    finding = only(look(A, settings=settings(**{setting: 61})), look(B, settings=settings(**{setting: 62})))
    assert (finding.level, finding.about) == (level, f"setting {setting.replace('__', '.')}")
    assert finding.evidence == f"61: {A}; 62: {B}"


@pytest.mark.parametrize(
    "setting",
    [
        "http__port",
        "cache__ttl_jitter",
        "store__deadline_s",
        "queue__rabbitmq__hosts",
        "cache__redis__url",
        "cache__redis__sentinels",
        "cache__redis__max_connections",
        "queue__rabbitmq__connect_timeout_s",
        "store__cockroach__username",
        "store__cockroach__ca_file",
    ],
)
def test_settings_that_may_differ_are_left_alone(setting: str) -> None:
    """How a machine gets to a server, and how busily, is its own affair."""
    assert found(look(A, settings=settings(**{setting: 1})), look(B, settings=settings(**{setting: 2}))) == []


def test_nodes_that_share_nothing_are_an_error() -> None:
    """A backend of one process or machine is right for one node, and wrong for two."""
    alone = settings(store__backend="sqlite")
    assert found(look(A, settings=alone)) == []
    finding = only(look(A, settings=alone), look(B, settings=alone))
    assert (finding.level, finding.about) == ("error", "backends")
    assert finding.evidence == f"store sqlite is of one process alone: {A}, {B}"


def test_different_servers_of_the_cache_are_an_error() -> None:
    """One node would not see what another has written; one that is down is another finding."""
    other = health(cache=tier(server="Redis at y"))
    assert only(look(A), look(B, health=other)).about == "cache"
    down = health("degraded", cache=tier(status="down", server="", detail="away"))
    assert [one.about for one in found(look(A), look(B, health=down))] == ["health"]


def test_a_queue_that_nobody_drains_is_an_error() -> None:
    """Writes are kept, and do not get to the store."""
    finding = only(look(queue=QueueStats(channels={"writes": Channel(waiting=9, consumers=0)})))
    assert (finding.level, finding.what) == ("error", "nobody drains the queue")
    assert "9 messages wait" in finding.evidence


def test_workers_that_drain_something_else_are_told() -> None:
    """There are more workers than the queue knows."""
    in_node = look(A, settings=settings(worker__in_node=True))
    assert only(in_node, worker()).what == "not all workers drain this queue"
    assert found(look(A), worker()) == []


def test_workers_that_nobody_looked_at_are_told() -> None:
    """Where the queue does not tell how many drain it."""
    unknown = QueueStats(channels={"writes": Channel()})
    assert only(look(queue=unknown)).about == "workers"
    assert found(look(queue=unknown), worker()) == []


def test_dead_letters_are_told() -> None:
    """With what to do about them."""
    queue = QueueStats(channels={"writes": Channel(waiting=0, consumers=1)}, dead_letters=3)
    finding = only(look(queue=queue))
    assert finding.evidence == f"3 dead letters: {A}"
    assert "kvctl dead-letters list" in finding.remedy


def test_clocks_are_compared_as_exactly_as_dates_tell() -> None:
    """A date has whole seconds, so two of them are the least that is worth a word."""
    assert found(look(A, ahead_ms=1900), look(B, ahead_ms=-1900)) == []
    assert only(look(A, ahead_ms=2500), look(B)).about == "clock"
    assert only(look(A, ahead_ms=61_000), look(B)).level == "error"


def test_a_node_without_a_cache_is_looked_at_all_the_same() -> None:
    """What answers may be of another version, or no node at all."""
    bare = Health(status="healthy", components={}, version="1.0", node="a1", profile="production")
    assert found(look(A, health=bare), look(B)) == []


@pytest.mark.parametrize("date", ["yesterday", "Mon, 31 Feb 99999 99:99:99 GMT"])
def test_a_date_that_is_none_ends_nothing(node: FakeNode, monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    """Then nothing is said of the clock."""
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: date)
    (seen,) = anyio.run(look_at_all, [f"http://127.0.0.1:{node.server_port}"], None)
    assert seen.ahead_ms is None
