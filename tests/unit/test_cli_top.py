"""What `kvctl top` makes of metrics, and how it shows that on terminals of every width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from kvcore.cli._running.figures import Figures, figures_of
from kvcore.cli._running.observing import Observation
from kvcore.cli._running.samples import Samples
from kvcore.cli._running.screen import Screen, plain
from kvcore.client import Health, Limits, Tier
from kvcore.errors import ForbiddenError, KvcoreError, UnauthenticatedError, UnavailableError

URL = "http://127.0.0.1:8000"
REQUESTS = "kvcore_http_request_duration_seconds"


def health(status: str = "healthy", *, is_worker: bool = False, **tiers: str) -> Health:
    """Return the health of a node or worker, with tiers and why they are down."""
    limits = None if is_worker else Limits(max_key_bytes=1, max_value_bytes=1)
    components = {
        name: Tier(status="down" if detail else "up", backend="memory", ping_ms=0.1, detail=detail)
        for name, detail in tiers.items()
    }
    return Health(status=status, components=components, version="1.0", node="a1", profile="memory", limits=limits)


def seen(at_s: float, *lines: str, health: Health | KvcoreError = health()) -> Observation:  # noqa: B008 - never changed
    """Return what was seen at a time: metrics, line by line."""
    return Observation(at_s=at_s, health=health, metrics=Samples("\n".join((*lines, ""))))


def buckets(operation: str, counts: dict[str, int]) -> list[str]:
    """Return a histogram of requests, by upper bound, and how many there were."""
    labels = f'operation="{operation}",status="200"'
    lines = [f'{REQUESTS}_bucket{{{labels},le="{bound}"}} {count}' for bound, count in counts.items()]
    return [*lines, f"{REQUESTS}_count{{{labels}}} {counts['+Inf']}"]


# --- samples ----------------------------------------------------------------------------------------------------------


def test_what_is_not_shown_or_not_a_number_is_not_known() -> None:
    """NaN stands for a number that nobody knows, such as the dead letters of a queue that cannot be asked; nothing is infinite."""
    samples = Samples("dead NaN\nendless +Inf\nshown 3\n")
    assert (samples.total("missing"), samples.largest("dead"), samples.total("endless")) == (None, None, None)
    assert samples.total("shown") == 3


def test_a_node_of_several_processes_is_one() -> None:
    """What each process has of its own is added up; of what all of them see the largest is taken."""
    samples = Samples('memory{process="0"} 5\nmemory{process="1"} 7\n')
    assert (samples.total("memory"), samples.largest("memory")) == (12, 7)


def test_a_counter_that_began_again_has_grown_from_zero() -> None:
    """A process that was restarted counts from 0, and the others go on; no rate is negative."""
    before = Samples('n_total{process="0"} 100\nn_total{process="1"} 100\n')
    now = Samples('n_total{process="0"} 110\nn_total{process="1"} 4\n')
    assert now.growth("n_total", before) == 14
    assert now.growth("other_total", before) is None


def test_a_quantile_lies_between_the_bounds_as_in_prometheus() -> None:
    """Straight between two bounds, of what came since then; beyond the last one it is that one."""
    before = Samples("\n".join([*buckets("getValue", {"0.1": 5, "0.2": 5, "+Inf": 5}), ""]))
    now = Samples("\n".join([*buckets("getValue", {"0.1": 9, "0.2": 13, "+Inf": 15}), ""]))
    assert now.quantile(REQUESTS, 0.2, before) == pytest.approx(0.05)
    assert now.quantile(REQUESTS, 0.6, before) == pytest.approx(0.15)
    assert now.quantile(REQUESTS, 0.99, before) == pytest.approx(0.2)
    assert now.quantile(REQUESTS, 0.5, now) is None


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_rates_are_those_between_two_looks() -> None:
    """By the time that really passed; requests for health and metrics are not what a node is used for."""
    before = seen(10.0, *buckets("getValue", {"0.1": 0, "+Inf": 0}), 'kvcore_writes_total{way="queue"} 0')
    now = seen(
        14.0,
        *buckets("getValue", {"0.1": 8, "+Inf": 8}),
        *buckets("getMetrics", {"0.1": 100, "+Inf": 100}),
        'kvcore_writes_total{way="queue"} 20',
        'kvcore_mutations_total{verdict="applied"} 4',
        "process_cpu_seconds_total 2",
    )
    figures = figures_of(URL, before, now)
    assert (figures.requests_per_s, figures.writes_per_s, figures.cpu) == (2.0, 5.0, 0.5)
    assert figures.p50_s == pytest.approx(0.05)


def test_a_worker_shows_what_it_has_given_to_the_store() -> None:
    """It takes no writes itself; and it is known by taking no values."""
    before = seen(0.0, 'kvcore_mutations_total{verdict="applied"} 0')
    now = seen(2.0, 'kvcore_mutations_total{verdict="applied"} 4', health=health(is_worker=True))
    figures = figures_of(URL, before, now)
    assert (figures.kind, figures.writes_per_s) == ("worker", 2.0)


def test_the_hit_ratio_is_of_the_reads_that_asked_the_cache() -> None:
    """To know that a key does not exist is a hit; a read that went past the cache is neither."""
    results = {"hit": 5, "negative": 1, "miss": 1, "stale": 1, "bypass": 50, "error": 50}
    lines = [f'kvcore_cache_reads_total{{result="{result}"}} {count}' for result, count in results.items()]
    assert figures_of(URL, seen(0.0), seen(1.0, *lines)).hit_ratio == 0.75
    assert figures_of(URL, seen(0.0), seen(1.0)).hit_ratio is None


def test_the_queue_is_counted_once_however_many_look_at_it() -> None:
    """Each process sees what waits, on both channels, and has something else in hand: together that is the depth."""
    now = seen(
        1.0,
        *(
            f'kvcore_queue_messages{{channel="{channel}",process="{process}",state="{state}"}} {count}'
            for process in "01"
            for channel, state, count in (
                ("writes", "waiting", 3),
                ("writes", "unsettled", 2),
                ("refreshes", "waiting", 1),
            )
        ),
        'kvcore_queue_dead_letters{process="0"} 4',
        'kvcore_queue_dead_letters{process="1"} 4',
        'kvcore_breaker_open{tier="store"} 1',
        'kvcore_breaker_open{tier="cache"} 0',
    )
    figures = figures_of(URL, None, now)
    assert (figures.queue_depth, figures.dead_letters, figures.breakers_open) == (8, 4, ["store"])


def test_metrics_without_the_labels_that_they_should_have_end_nothing() -> None:
    """What answers may be of another version, or no node at all."""
    lines = ("kvcore_breaker_open 1", "kvcore_queue_messages 3", "kvcore_cache_reads_total 2", f"{REQUESTS}_count 1")
    figures = figures_of(URL, seen(0.0, *lines), seen(1.0, *lines))
    assert (figures.queue_depth, figures.hit_ratio, figures.requests_per_s) == (None, None, 0.0)


def test_one_look_is_not_enough_for_rates() -> None:
    """What was not measured is not known, and not 0."""
    figures = figures_of(URL, None, seen(1.0, *buckets("getValue", {"+Inf": 3}), "process_cpu_seconds_total 2"))
    assert (figures.requests_per_s, figures.p99_s, figures.cpu) == (None, None, None)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (UnavailableError("away"), "unreachable"),
        (ForbiddenError("no"), "refused"),
        (health("degraded", store="it is away"), "degraded"),
    ],
)
def test_what_a_node_says_of_itself_is_its_status(answer: Health | KvcoreError, status: str) -> None:
    """And what it has answered instead, or which tier is down, is said beside."""
    figures = figures_of(URL, None, seen(1.0, health=answer))
    assert figures.status == status
    assert figures.detail == ("store it is away" if isinstance(answer, Health) else str(answer))


def test_metrics_that_need_a_token_are_said_to_be_missing() -> None:
    """The health is shown all the same."""
    now = Observation(at_s=1.0, health=health(), metrics=UnauthenticatedError("give a token"))
    figures = figures_of(URL, None, now)
    assert (figures.status, figures.memory_bytes, figures.detail) == ("healthy", None, "no metrics: give a token")


# --- the view ---------------------------------------------------------------------------------------------------------

BUSY = Figures(
    url=URL,
    kind="node",
    status="healthy",
    requests_per_s=1234.5,
    p50_s=0.0004,
    p99_s=0.0312,
    hit_ratio=0.973,
    writes_per_s=9.51,
    lag_p99_s=1.5,
    lag_oldest_s=180.0,
    queue_depth=12345,
    dead_letters=2,
    breakers_open=["cache", "store"],
    connections=17,
    memory_bytes=97_156_000,
    cpu=1.25,
)
GONE = Figures(url="http://10.0.0.2:8000/kv-a/", status="unreachable", detail="no node answers \x1b[2J")


def drawn(width: int, *figures: Figures, **options: Any) -> str:
    """Return what is shown on a terminal of a width."""
    file = io.StringIO()
    Console(file=file, width=width, height=40, **options).print(Screen(figures, head="2 of 2 answer"))
    return file.getvalue()


@pytest.mark.parametrize("width", [160, 128, 100, 80, 76, 60, 40, 25])
def test_every_figure_is_shown_whole_on_every_terminal(width: int) -> None:
    """One table, two, or a list: nothing is cut, and no line is longer than the terminal is wide."""
    text = drawn(width, BUSY, GONE)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("1,234", "0.4ms", "31.2ms", "97%", "9.5", "1.5s", "3min", "12,345", "cache,store", "97MB", "125%"):
        assert figure in text
    for word in ("127.0.0.1:8000", "healthy", "10.0.0.2:8000/kv-a", "unreachable"):
        assert word in text


def test_a_wide_terminal_has_one_table_and_a_common_one_two() -> None:
    """A narrow one has none."""
    assert [drawn(width, BUSY).count("NODE") for width in (140, 80, 40)] == [1, 2, 0]


def test_what_a_node_says_does_nothing_to_the_terminal() -> None:
    """Its words are not trusted: an escape sequence in them is written out."""
    assert "\x1b[2J" not in drawn(100, GONE)
    assert "\\x1b[2J" in drawn(100, GONE)


@pytest.mark.parametrize("width", [160, 25])
def test_no_status_and_no_label_does_anything_to_the_terminal(width: int) -> None:
    """They are the node's words too, in tables and in lists."""
    status: Any = "up\x1b[2J"
    hostile = Figures(url=URL, status=status, breakers_open=["x\x1b]0;title\x07"])
    text = drawn(width, hostile) + plain([hostile])
    assert "\\x1b[2J" in text
    assert text.replace("\n", "").isprintable()


def test_colours_are_left_out_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is obeyed; without it a node that does not answer is red."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = {"force_terminal": True, "color_system": "standard"}
    assert "31m" in drawn(100, GONE, **coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in drawn(100, GONE, **coloured)


def test_the_plain_table_has_every_column() -> None:
    """One line for each node under one line of titles, for those who read it later."""
    head, busy, gone = plain([BUSY, GONE]).splitlines()
    assert len(head.split()) - 1 == len(busy.split()) == 15  # LAG P99 is one title
    assert gone.split()[:3] == ["10.0.0.2:8000/kv-a", "unreachable", "-"]
