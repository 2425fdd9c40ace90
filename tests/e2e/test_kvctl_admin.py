"""The commands of operators against running nodes: cache, queue, dead letters, purge, top and doctor."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kvcore.cli._app import app
from kvcore.client import Client, Delete
from kvcore.testing.nodes import NodeProcess, running_node
from kvcore.tokens import digest_of, new_token
from tests.e2e.terminal import Terminal
from tests.picky.node import PickyNode, picky_node


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PickyNode]:
    """Give a node whose store can be told to refuse writes."""
    with picky_node(tmp_path_factory.mktemp("picky")) as node:
        yield node


@pytest.fixture
def letters(picky: PickyNode) -> Iterator[PickyNode]:
    """Give it with three dead letters, and with none at the end."""
    picky.bury("a\n1", {"n": 1}, "the value\nbreaks a rule")
    picky.bury("b", b"\x00\xff", "the value breaks a rule")
    picky.bury("c", "text", "the value breaks a rule")
    yield picky
    with Client(picky.url) as client:
        client.admin.discard(one.id for one in client.admin.dead_letters(1000))


def kvctl(*arguments: str, **variables: str) -> Result:
    """Run kvctl in this process, without a terminal."""
    return CliRunner().invoke(app, arguments, env=dict.fromkeys(("KVCORE_URL", "KVCORE_TOKEN")) | variables)


def as_json(*arguments: str) -> Any:
    """Run kvctl with --json; return what it printed."""
    done = kvctl(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


# --- cache, queue and purge -------------------------------------------------------------------------------------------


def test_the_cache_is_shown_and_cleared(memory: NodeProcess) -> None:
    """What is cached is counted; after clearing it is gone, and what the store has is there."""
    with Client(memory.url) as client:
        client.put("cached", 1, ack="stored")
        client.get("cached")
        client.get("cached")
        before = as_json("cache", "stats", "--url", memory.url)
        assert before["keys_count"] >= 1
        assert "this node" in kvctl("cache", "stats", "--url", memory.url).stdout
        assert as_json("cache", "clear", "--yes", "--url", memory.url) == {"detail": "cleared"}
        assert as_json("cache", "stats", "--url", memory.url)["keys_count"] == 0
        assert client.get("cached") is not None


def test_nothing_is_cleared_without_being_asked_for(memory: NodeProcess) -> None:
    """Without a terminal it is refused; on one, a person can say no, and then yes."""
    with Client(memory.url) as client:
        client.put("kept", 1, ack="stored")
        client.get("kept")
        refused = kvctl("cache", "clear", "--url", memory.url)
        assert (refused.exit_code, refused.stdout) == (2, "")
        with Terminal("cache", "clear", "--url", memory.url) as terminal:
            terminal.until("Clear the cache of http.*y/N")
            terminal.press("n\n")
            assert terminal.ended()[0] == 1
        assert client.cache_stats().keys_count > 0
        with Terminal("cache", "clear", "--url", memory.url) as terminal:
            terminal.until("y/N")
            terminal.press("y\n")
            code, shown = terminal.ended()
            assert (code, "cleared" in shown) == (0, True)
        assert client.cache_stats().keys_count == 0


def test_the_queue_is_shown_with_its_lag(memory: NodeProcess) -> None:
    """Both channels with their workers, the dead letters, and how long a write takes to the store."""
    found = as_json("queue", "stats", "--url", memory.url)
    assert found["channels"]["writes"] == {"waiting": 0, "unsettled": 0, "consumers": 1}
    assert found["dead_letters"] == 0
    assert found["lag_s"] > 0
    text = kvctl("queue", "stats", "--url", memory.url).stdout
    assert text.splitlines()[0].split() == ["CHANNEL", "WAITING", "UNSETTLED", "WORKERS"]
    assert "lag: " in text


def test_a_node_without_a_queue_says_so(embedded: NodeProcess) -> None:
    """Its commands fail in one line, with the reason."""
    for command in (["queue", "stats"], ["dead-letters", "list"], ["dead-letters", "replay", "--all"]):
        done = kvctl(*command, "--url", embedded.url)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "without a queue" in done.stderr


def test_what_is_long_deleted_is_purged(tmp_path: Path) -> None:
    """All of it, however many portions that takes, and nothing that exists."""
    settings = {"store.sqlite.path": str(tmp_path / "kv.db"), "store.tombstone_retention_s": "0.001"}
    settings["cache.pending_ttl_s"] = "0.001"
    with running_node(settings) as node, Client(node.url) as client:
        client.batch(Delete(f"old/{number}") for number in range(1200))
        client.put("young", 1)
        with Terminal("purge", "--url", node.url) as terminal:
            code, shown = terminal.ended()
        assert code == 0
        assert "1,000 removed" in shown
        assert "removed 1200" in shown
        assert as_json("purge", "--url", node.url) == {"removed": 0}
        assert client.get("young") is not None


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_shown(letters: PickyNode, tmp_path: Path) -> None:
    """One line each; one of them with its value, as text, as JSON, and as bytes in a file."""
    lines = kvctl("dead-letters", "list", "--url", letters.url).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["KEY", '"a\\n1"', "b", "c"]
    assert lines[1].endswith("the value breaks a rule")
    first, second, _ = as_json("dead-letters", "list", "--url", letters.url)
    assert (first["key"], first["reason"]) == ("a\n1", "the value\nbreaks a rule")
    assert as_json("dead-letters", "show", first["id"], "--url", letters.url)["value"] == {"n": 1}
    assert as_json("dead-letters", "show", second["id"], "--url", letters.url)["value_base64"] == "AP8="
    text = kvctl("dead-letters", "show", first["id"], "--url", letters.url).stdout
    assert text.endswith('\n\n{"n":1}\n')
    file = tmp_path / "value"
    done = kvctl("dead-letters", "show", second["id"], "--output", str(file), "--url", letters.url)
    assert (done.exit_code, done.stdout, file.read_bytes()) == (0, "", b"\x00\xff")
    assert len(as_json("dead-letters", "list", "--limit", "1", "--url", letters.url)) == 1


def test_a_dead_letter_that_is_not_there_is_exit_code_3(letters: PickyNode) -> None:
    """As a key that does not exist."""
    done = kvctl("dead-letters", "show", "nothing", "--url", letters.url)
    assert (done.exit_code, done.stdout) == (3, "")


def test_dead_letters_are_replayed_and_discarded_by_id(letters: PickyNode) -> None:
    """What is replayed is stored; what is discarded is gone; of what is not there the exit code tells."""
    first, second, third = (one["id"] for one in as_json("dead-letters", "list", "--url", letters.url))
    done = kvctl("dead-letters", "replay", first, third, "nothing", "--url", letters.url)
    assert (done.exit_code, done.stdout) == (3, "replayed 2\n")
    assert "1 of those named were not there" in done.stderr
    with Client(letters.url) as client:
        value = client.get("c", from_store=True)
        assert value is not None
        assert value.json() == "text"
        assert kvctl("dead-letters", "discard", second, "--url", letters.url).exit_code == 2
        assert as_json("dead-letters", "discard", second, "--yes", "--url", letters.url) == {"discarded": 1}
        assert client.admin.dead_letters() == []
        assert client.get("b", from_store=True) is None


def test_all_dead_letters_are_replayed_once(letters: PickyNode) -> None:
    """Those that the store rejects again come back, and are not replayed for ever."""
    letters.reason.write_text("still not")
    try:
        assert as_json("dead-letters", "replay", "--all", "--url", letters.url) == {"replayed": 3}
    finally:
        letters.reason.unlink()
    assert as_json("dead-letters", "replay", "--all", "--url", letters.url)["replayed"] in (3, 0)


def test_all_dead_letters_are_discarded_when_that_is_confirmed(letters: PickyNode) -> None:
    """A person is asked, with where that is."""
    with Terminal("dead-letters", "discard", "--all", "--url", letters.url) as terminal:
        terminal.until("Discard ALL dead letters at http.*y/N")
        terminal.press("y\n")
        code, shown = terminal.ended()
        assert (code, "discarded 3" in shown) == (0, True)
    assert kvctl("dead-letters", "list", "--url", letters.url).stdout == "no dead letters\n"


@pytest.mark.parametrize("command", ["replay", "discard"])
@pytest.mark.parametrize("arguments", [[], ["x", "--all"]])
def test_which_dead_letters_must_be_clear(memory: NodeProcess, command: str, arguments: list[str]) -> None:
    """Either some by id, or all."""
    assert kvctl("dead-letters", command, *arguments, "--url", memory.url).exit_code == 2


# --- top --------------------------------------------------------------------------------------------------------------

LIVE = ("top", "--interval", "0.2")


def test_top_without_a_terminal_prints_one_measurement(memory: NodeProcess, embedded: NodeProcess) -> None:
    """Of each node, as a table or as JSON; one that does not answer is told, by the exit code too."""
    urls = ("--url", memory.url, "--url", embedded.url)
    first, second = as_json("top", "--interval", "0.2", *urls)
    assert (first["status"], second["status"], first["kind"]) == ("healthy", "healthy", "node")
    assert (first["queue_depth"], second["queue_depth"]) == (0, None)
    assert first["memory_bytes"] > 10_000_000
    done = kvctl("top", "--interval", "0.2", *urls, "--url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == [
        "STATUS",
        "healthy",
        "healthy",
        "unreachable",
    ]
    assert "no node answers" in done.stderr


def test_top_measures_what_happens(memory: NodeProcess) -> None:
    """Requests and their latency, writes, and hits, while there is load; without it there are none."""
    with Client(memory.url) as client, Terminal(*LIVE, "--url", memory.url, columns=160) as terminal:
        terminal.until("1 of 1 answer, 0 requests/s")
        for number in range(100):
            client.put("busy", number, ack="stored")
            client.get("busy")
        terminal.until(r"1 of 1 answer, [1-9][0-9,]* requests/s.*healthy +[1-9].*ms.*[1-9]\d*%")
        terminal.until("1 of 1 answer, 0 requests/s")


def test_top_goes_on_when_a_node_dies_and_comes_back() -> None:
    """It is shown as unreachable meanwhile, and healthy again afterwards."""
    with running_node({"profile": "memory"}) as node:
        url, port = node.url, node.port
        with Terminal(*LIVE, "--url", url) as terminal:
            terminal.until("1 of 1 answer")
            node.kill()
            terminal.until("0 of 1 answer.*unreachable.*no node answers at")
            with running_node({"profile": "memory", "http.port": str(port)}):
                terminal.until(r"1 of 1 answer.*healthy")
                terminal.press("q")
                assert terminal.ended()[0] == 0


def test_top_takes_the_width_that_the_terminal_has(memory: NodeProcess) -> None:
    """One table where it fits, two where it does not, and a list where it is narrow; at once when it is resized."""
    with Terminal("top", "--interval", "3600", "--url", memory.url, columns=150) as terminal:
        terminal.until(r"REQ/S[^\n]*LAG P99")
        terminal.resize(80)
        terminal.until(r"REQ/S[^\n]*CONN\s*\n.*LAG P99")
        terminal.resize(40)
        terminal.until(r"req/s .*lag p99|conn .*memory ")


@pytest.mark.parametrize("key", ["q", "Q", "\x03"])
def test_top_ends_and_leaves_the_terminal_as_it_was(memory: NodeProcess, key: str) -> None:
    """By q or Ctrl-C: the screen from before is back, with its cursor, and the terminal shows again what is typed."""
    with Terminal(*LIVE, "--url", memory.url) as terminal:
        terminal.until("1 of 1 answer")
        assert not terminal.echoes
        terminal.press("x")
        terminal.until("1 of 1 answer")
        terminal.press(key)
        code, shown = terminal.ended()
        assert code == 0
        assert shown.rindex("\x1b[?1049l") > 0
        assert shown.rindex("\x1b[?25h") > shown.rfind("\x1b[?25l")
        assert "Traceback" not in shown
        assert terminal.echoes


def test_top_that_is_stopped_leaves_the_terminal_as_it_was(memory: NodeProcess) -> None:
    """SIGTERM ends it as q does."""
    with Terminal(*LIVE, "--url", memory.url) as terminal:
        terminal.until("1 of 1 answer")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ended()[0] == 0
        assert terminal.echoes


def test_top_without_colours(memory: NodeProcess) -> None:
    """NO_COLOR is obeyed; without it the status is green."""
    green = "\x1b[32mhealthy"
    with Terminal(*LIVE, "--url", memory.url) as terminal:
        assert green in terminal.until("1 of 1 answer.*healthy.*\n")
    with Terminal(*LIVE, "--url", memory.url, NO_COLOR="1") as terminal:
        assert green not in terminal.until("1 of 1 answer.*healthy.*\n")


def test_top_of_a_dumb_terminal_is_plain(memory: NodeProcess) -> None:
    """Where nothing can be drawn, one measurement is printed."""
    with Terminal(*LIVE, "--url", memory.url, TERM="dumb") as terminal:
        code, shown = terminal.ended()
    assert (code, "\x1b" in shown, "healthy" in shown) == (0, False, True)


# --- doctor -----------------------------------------------------------------------------------------------------------


def findings(*urls: str, **variables: str) -> list[dict[str, str]]:
    """Return what `kvctl doctor` finds at running nodes that is not well."""
    options = (word for url in urls for word in ("--url", url))
    parts = json.loads(kvctl("doctor", "--json", *options, **variables).stdout)
    return [finding for part in parts for finding in part["findings"] if finding["level"] != "ok"]


def test_doctor_finds_nothing_where_all_is_well(memory: NodeProcess) -> None:
    """And it looks at no server of this machine, since nobody asked for that."""
    done = kvctl("doctor", "--url", memory.url)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == memory.url
    assert "through the queue to the store" in done.stdout
    assert findings(memory.url) == []


def test_doctor_looks_at_servers_and_nodes_when_settings_are_given(memory: NodeProcess) -> None:
    """Both in one list."""
    parts = as_json("doctor", "--profile", "memory", "--url", memory.url)
    assert [part.get("tier") or part.get("url", "-") for part in parts] == ["cache", "queue", "store", memory.url, None]


def test_doctor_tells_that_nodes_do_not_belong_together(memory: NodeProcess, embedded: NodeProcess) -> None:
    """Other backends, and data each of its own; and one that does not answer."""
    found = {finding["about"]: finding for finding in findings(memory.url, embedded.url, "http://127.0.0.1:1")}
    assert set(found) == {"address", "setting queue.backend", "setting store.backend", "backends"}
    assert all(finding["evidence"] and finding["remedy"] for finding in found.values())


def test_doctor_tells_of_dead_letters(letters: PickyNode) -> None:
    """With how many there are."""
    (finding,) = findings(letters.url)
    assert (finding["about"], finding["evidence"]) == ("dead letters", f"3 dead letters: {letters.url}")


def test_doctor_says_what_it_could_not_look_at(tmp_path: Path) -> None:
    """Without a token for operators it tells what is open, and what it needs for the rest."""
    token = new_token()
    file = tmp_path / "tokens.toml"
    file.write_text(f'[[tokens]]\nname = "ops"\nsha256 = "{digest_of(token).hex()}"\nscopes = ["admin"]\n')
    with running_node({"profile": "memory", "auth.file": str(file)}) as node:
        found = findings(node.url)
        assert {finding["about"] for finding in found} == {"not looked at"}
        assert all("--token-file" in finding["remedy"] for finding in found)
        assert findings(node.url, KVCORE_TOKEN=token) == []
