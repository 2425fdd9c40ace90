"""The commands of operators, against a node that answers as the test says: what real nodes do on a bad day only."""

from __future__ import annotations

import json

import pytest

from tests.unit.answering import FakeNode, json_answer, kvctl, problem_document

QUEUE = {"channels": {"writes": {"waiting": 9, "unsettled": None, "consumers": 0}}, "dead_letters": None}
LATE = problem_document(503, "unavailable", detail="the probe is not back within 5 s", outcome="not-applied")


def test_a_queue_that_nobody_drains_has_no_lag(node: FakeNode) -> None:
    """It is shown all the same, and the exit code says that something is wrong; the probe is sent once."""
    node.says(json_answer({"data": QUEUE}), (503, "application/problem+json", json.dumps(LATE).encode()))
    result = kvctl("queue", "stats")
    assert (result.exit_code, node.requests) == (1, 2)
    assert result.stdout.splitlines()[1].split() == ["writes", "9", "unknown", "0"]
    assert result.stdout.endswith("dead letters: unknown\nlag: unknown\n")
    assert "the lag could not be measured: the probe is not back" in result.stderr


def test_a_queue_in_json_has_null_for_what_is_not_known(node: FakeNode) -> None:
    """So that no script takes it for a number."""
    node.says(json_answer({"data": QUEUE}), json_answer({"data": {"lag_s": 0.5}}))
    result = kvctl("queue", "stats", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, QUEUE | {"lag_s": 0.5})


@pytest.mark.parametrize(
    ("reads", "shown"), [((0, 0, 0.0), "no reads yet"), ((3, 1, 75.0), "75 % (3 of 4 reads)")], ids=["none", "some"]
)
def test_the_cache_is_told_as_it_is(node: FakeNode, reads: tuple[int, int, float], shown: str) -> None:
    """A ratio only where something was read, and limits where there are any."""
    counted = dict(zip(("cache_hits", "cache_misses", "hit_rate"), reads, strict=True))
    stats = {"keys_count": 1234, "memory_used_bytes": 10, "max_memory_bytes": 20, "evictions": 5678, **counted}
    node.says(json_answer(stats | {"node": counted}))
    text = kvctl("cache", "stats").stdout
    for part in ("1,234\n", "10 of 20\n", "5,678\n", shown):
        assert part in text


def letter(number: int) -> dict[str, object]:
    """Return a dead letter as it is listed."""
    told = {"key": f"k{number}", "op": "delete", "version": "v", "reason": "no \x1b[2J", "size": 0}
    return {"id": str(number), **told, "media_type": None, "expires_at": None, "condition": None}


def test_all_dead_letters_are_decided_about_lot_by_lot(node: FakeNode) -> None:
    """Each lot is taken away before the next is listed; what comes back is not taken twice."""
    node.says(
        json_answer({"data": [letter(1), letter(2)]}),
        json_answer({"data": {"replayed": 2}}),
        json_answer({"data": [letter(2), letter(3)]}),
        json_answer({"data": {"replayed": 1}}),
        json_answer({"data": [letter(2), letter(3)]}),
    )
    assert kvctl("dead-letters", "replay", "--all").stdout == "replayed 3\n"
    assert (node.requests, node.query["limit"]) == (5, ["1000"])
    assert node.method == "GET"


@pytest.mark.parametrize(
    ("command", "done"), [(["replay"], "replayed"), (["discard", "--yes"], "discarded")], ids=["replay", "discard"]
)
def test_letters_that_are_not_there_are_told(node: FakeNode, command: list[str], done: str) -> None:
    """A wrong id does not look like success; one that is named twice is one."""
    node.says(json_answer({"data": {done: 1}}), json_answer({"data": {done: 1}}))
    assert kvctl("dead-letters", *command, "1", "1").exit_code == 0
    result = kvctl("dead-letters", *command, "1", "2")
    assert (result.exit_code, result.stdout) == (3, f"{done} 1\n")
    assert "1 of those named were not there" in result.stderr


def test_a_reason_does_nothing_to_the_terminal(node: FakeNode) -> None:
    """It is a server's, and may hold anything."""
    node.says(json_answer({"data": [letter(1)]}))
    assert "no \\x1b[2J" in kvctl("dead-letters", "list").stdout
    node.says(json_answer({"data": letter(1)}))
    assert "no \\x1b[2J" in kvctl("dead-letters", "show", "1").stdout


HOSTILE = "v\x1b]0;title\x07\x9b31m\u202e\r\nforged line\tx"
"""Sets the title of a terminal, colours it, turns text around, and looks like a line of its own."""
FOREIGN_LETTER = letter(1) | dict.fromkeys(("id", "key", "version", "reason", "media_type", "condition"), HOSTILE)
FOREIGN_TIER = {"status": HOSTILE, "backend": HOSTILE, "ping_ms": 1, "detail": HOSTILE}


@pytest.mark.parametrize(
    ("command", "lines", "answers"),
    [
        ("dead-letters list", 2, [{"data": [FOREIGN_LETTER]}]),
        ("dead-letters show 1", 6, [{"data": FOREIGN_LETTER}]),
        ("queue stats", 4, [{"data": QUEUE | {"channels": {HOSTILE: {}}}}, {"data": {"lag_s": 1}}]),
        (
            "health",
            2,
            [
                {"status": "healthy", "components": {HOSTILE: FOREIGN_TIER}}
                | dict.fromkeys(("version", "node", "profile"), HOSTILE)
            ],
        ),
    ],
)
def test_nothing_that_a_node_says_does_anything_to_the_terminal(
    node: FakeNode, command: str, lines: int, answers: list[object]
) -> None:
    """Whatever member it is in: it is written out, and stays in its line."""
    node.says(*map(json_answer, answers))
    shown = kvctl(*command.split()).stdout
    assert "v\\x1b]0;title\\x07\\x9b31m\\u202e" in shown
    assert len(shown.splitlines()) == lines
    assert shown.replace("\n", "").isprintable()


def test_a_dead_delete_has_no_value_to_write(node: FakeNode, tmp_path: object) -> None:
    """Nothing is written, and no empty file either."""
    node.says(json_answer({"data": letter(1)}))
    result = kvctl("dead-letters", "show", "1", "--output", f"{tmp_path}/value")
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_value_that_is_no_text_is_not_printed(node: FakeNode) -> None:
    """What to do is said in its place."""
    node.says(json_answer({"data": letter(1) | {"op": "put", "media_type": "image/png", "value_base64": "AP8="}}))
    assert "--output" in kvctl("dead-letters", "show", "1").stdout


def test_the_version_is_an_option_too() -> None:
    """As people expect of any command."""
    assert kvctl("--version").stdout == kvctl("version").stdout
