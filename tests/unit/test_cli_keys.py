"""The commands of kvctl that ask a node, against a server that answers as the test says and keeps what it was asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvcore.cli import _consent
from tests.unit.answering import STORED, VERSION, Answer, FakeNode, json_answer, kvctl, problem_document

HEALTH: dict[str, Any] = {
    "status": "healthy",
    "components": {"store": {"status": "up", "backend": "sqlite", "breaker": "closed", "ping_ms": 0.1}},
    "version": "0.1.0",
    "node": "a1b2c3d4",
    "profile": "embedded",
    "limits": {"max_key_bytes": 65536, "max_value_bytes": 1048576},
}


TOKEN = "a-very-secret-token"  # noqa: S105 - made up


def value_of(value: bytes) -> Answer:
    """Return a node's answer to a read."""
    return 200, "application/json", value


# --- get --------------------------------------------------------------------------------------------------------------


def test_get_prints_text_as_it_is_and_anything_else_as_json(node: FakeNode) -> None:
    """A string is printed without quotes, for the shell; another value exactly as the node sent it."""
    for value, shown in ((b'"a \\u00e9"', "a é"), (b'{"n": 1.10}', '{"n": 1.10}'), (b"null", "null"), (b'""', "")):
        node.says(value_of(value))
        assert kvctl("get", "k").stdout == f"{shown}\n"


def test_get_as_json_gives_the_value_and_what_is_known_of_it(node: FakeNode) -> None:
    """With --json the value stands beside the key and the version, on one line, and no number loses a digit."""
    node.says(value_of(b'{"n":\n 123456789012345678901234567890.10}'))
    result = kvctl("get", "a key/ü&", "--json")
    assert result.stdout == (
        '{"key":"a key/ü&","value":{"n":123456789012345678901234567890.10},'
        f'"version":"{VERSION}","media_type":"application/json","expires_at":null}}\n'
    )
    assert (node.method, node.path, node.query) == ("GET", "/kv/a%20key%2F%C3%BC%26", {})


def test_get_prints_bytes_to_the_last_one(node: FakeNode, tmp_path: Path) -> None:
    """What is no JSON goes to stdout, or into a file, without a byte more or less; in JSON it is base64."""
    node.says((200, "image/png", b"\x00\xff\r\n"))
    assert kvctl("get", "k").stdout_bytes == b"\x00\xff\r\n"
    result = kvctl("get", "k", "--output", str(tmp_path / "k.png"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "k.png").read_bytes() == b"\x00\xff\r\n"
    found = json.loads(kvctl("get", "k", "--json").stdout)
    assert (found["value_base64"], found["media_type"]) == ("AP8NCg==", "image/png")


def test_output_into_a_file_that_cannot_be_written_fails(node: FakeNode, tmp_path: Path) -> None:
    """It is one line that names the file."""
    node.says(value_of(b"1"))
    result = kvctl("get", "k", "--output", str(tmp_path / "no" / "file"))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no/file" in result.stderr


def test_get_asks_for_the_version_that_the_reader_must_see(node: FakeNode) -> None:
    """--min-version, --wait and --no-cache are passed on."""
    node.says(value_of(b"1"))
    kvctl("get", "k", "--min-version", VERSION, "--wait", "0.5", "--no-cache")
    assert node.query == {"min_version": [VERSION], "wait": ["500"]}
    assert node.sent_headers["cache-control"] == "no-cache"


def test_what_a_node_says_does_nothing_to_the_terminal(node: FakeNode) -> None:
    """A message is shown with its control characters written out, whoever has put them there."""
    detail = "\x1b[2J\x9b2Jgone\r\x07"
    node.fail(400, "invalid-request", detail=detail)
    assert kvctl("get", "k").stderr == "kvctl: \\x1b[2J\\x9b2Jgone\\x0d\\x07\n"


def test_a_missing_key_has_an_exit_code_of_its_own(node: FakeNode) -> None:
    """Exit code 3, nothing on stdout: a script can tell "not there" from "failed"."""
    node.fail(404, "key-not-found", detail="the key does not exist")
    result = kvctl("get", "k")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "does not exist" in result.stderr


def test_a_path_that_is_not_there_is_not_a_missing_key(node: FakeNode) -> None:
    """A 404 of another kind, from a wrong --url, is a failure."""
    node.fail(404, "no-such-resource", detail="there is nothing at this path")
    result = kvctl("get", "k")
    assert (result.exit_code, result.stderr) == (1, "kvctl: there is nothing at this path\n")


def test_get_asks_for_nothing_but_a_newer_value(node: FakeNode, tmp_path: Path) -> None:
    """--if-none-match is a version: exit code 4 and nothing written while the key has it, as usual once it has another."""
    node.says((304, "application/json", b""))
    result = kvctl("get", "k", "--if-none-match", VERSION, "--output", str(tmp_path / "k"))
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == f"kvctl: the key 'k' still has version {VERSION}\n"
    assert node.sent_headers["if-none-match"] == f'"{VERSION}"'
    assert not (tmp_path / "k").exists()
    node.says(value_of(b'"new"'))
    assert kvctl("get", "k", "--if-none-match", VERSION).stdout == "new\n"


def test_head_tells_all_of_a_key_but_its_value(node: FakeNode) -> None:
    """For people a table, as JSON what `list` has; the value is not asked for."""
    node.says((200, "image/png", b"\x00" * 1234))
    shown = dict(line.split("  ", 1) for line in kvctl("get", "k", "--head").stdout.splitlines())
    assert {name: text.strip() for name, text in shown.items()} == {
        "version": VERSION,
        "size": "1,234 bytes",
        "media type": "image/png",
        "expires at": "never",
    }
    assert json.loads(kvctl("get", "k", "--head", "--json").stdout) == {
        "key": "k",
        "size": 1234,
        "version": VERSION,
        "media_type": "image/png",
        "expires_at": None,
    }
    assert (node.method, node.requests) == ("HEAD", 2)


def test_head_of_a_missing_key_exits_3(node: FakeNode) -> None:
    """As `get` does, and a path that is not there is a failure."""
    node.fail(404, "key-not-found")
    result = kvctl("get", "k", "--head")
    assert (result.exit_code, result.stdout) == (3, "")
    node.fail(404, "no-such-resource", detail="there is nothing at this path")
    result = kvctl("get", "k", "--head")
    assert (result.exit_code, result.stderr) == (1, "kvctl: there is nothing at this path\n")


@pytest.mark.parametrize("option", ["--output", "--if-none-match"])
def test_head_has_no_value_to_do_something_with(node: FakeNode, option: str) -> None:
    """It is wrong usage."""
    assert (kvctl("get", "k", "--head", option, VERSION).exit_code, node.requests) == (2, 0)


# --- put and delete ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["hello"], b'"hello"'),
        (["42"], b'"42"'),
        (['{"a": 1}'], b'"{\\"a\\": 1}"'),
        (["42.10", "--json-value"], b"42.10"),
        (['{"a": [1, null]}', "--json-value"], b'{"a": [1, null]}'),
        (["--", "-5"], b'"-5"'),
        (["--", ""], b'""'),
    ],
)
def test_put_stores_text_unless_it_is_told_that_the_value_is_json(
    node: FakeNode, arguments: list[str], body: bytes
) -> None:
    """Text is never guessed to be something else; --json-value takes it as JSON, as it was written."""
    assert kvctl("put", "k", *arguments).exit_code == 0
    assert (node.method, node.path, node.body) == ("PUT", "/kv/k", body)
    assert node.sent_headers["content-type"] == "application/json"


def test_put_reads_the_value_from_stdin_to_the_last_byte(node: FakeNode) -> None:
    """`-` takes what comes on stdin as it is, a last newline included."""
    assert kvctl("put", "k", "-", stdin="zwölf\n".encode()).exit_code == 0
    assert json.loads(node.body) == "zwölf\n"


def test_put_stores_the_bytes_of_a_file(node: FakeNode, tmp_path: Path) -> None:
    """--file takes any bytes, of stdin too, with the media type that is given."""
    (tmp_path / "logo").write_bytes(b"\x00\xff\n")
    for name, stdin in ((str(tmp_path / "logo"), None), ("-", b"\x00\xff\n")):
        assert kvctl("put", "k", "--file", name, "--media-type", "image/png", stdin=stdin).exit_code == 0
        assert (node.body, node.sent_headers["content-type"]) == (b"\x00\xff\n", "image/png")
    kvctl("put", "k", "--file", str(tmp_path / "logo"))
    assert node.sent_headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["{", "--json-value"], None),
        (["-", "--json-value"], b"[" * 200_000 + b"]" * 200_000),
        (["-"], b"\xff"),
        (["v", "--ttl", "0"], None),
        ([], None),
        (["v", "--file", "f"], None),
        (["v", "--media-type", "text/html"], None),
        (["--file", "f", "--json-value"], None),
        (["--file", "/no/such/file"], None),
    ],
)
def test_put_refuses_a_value_that_cannot_be_sent(node: FakeNode, arguments: list[str], stdin: bytes | None) -> None:
    """What is no JSON, no UTF-8, no lifetime, no file, or two things at once is wrong usage, and the node is not asked."""
    result = kvctl("put", "k", *arguments, stdin=stdin)
    assert (result.exit_code, node.method) == (2, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "k", "--if-none-match"),
        ("get", "k", "--min-version"),
        ("put", "k", "v", "--if-match"),
        ("delete", "k", "--if-match"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("version", [f'"{VERSION}"', "abc", ""])
def test_a_version_is_one_as_it_was_printed(node: FakeNode, arguments: tuple[str, ...], version: str) -> None:
    """Its quotes belong to the ETag of the API; anything else is wrong usage, and the node is not asked."""
    result = kvctl(*arguments, version)
    assert (result.exit_code, node.method) == (2, "")
    assert "24 hex digits" in " ".join(result.stderr.split())


def test_put_passes_lifetime_acknowledgement_and_conditions_on(node: FakeNode) -> None:
    """--ttl, --ack, --if-match and --if-none-match become what the API has for them."""
    kvctl("put", "k", "v", "--ttl", "60", "--ack", "stored", "--if-match", VERSION)
    assert node.query == {"ttl": ["60"], "ack": ["stored"]}
    assert node.sent_headers["if-match"] == f'"{VERSION}"'
    assert "if-none-match" not in node.sent_headers
    kvctl("put", "k", "v", "--if-match", "*")
    assert node.sent_headers["if-match"] == "*"
    kvctl("put", "k", "v", "--if-none-match")
    assert node.sent_headers["if-none-match"] == "*"


def test_an_idempotency_key_is_made_given_or_left_out(node: FakeNode) -> None:
    """A conditional write has one, random unless it is named; '' sends none."""
    kvctl("put", "k", "v", "--if-none-match")
    assert len(node.sent_headers["idempotency-key"]) >= 32
    kvctl("delete", "k", "--if-match", VERSION, "--idempotency-key", "mine")
    assert node.sent_headers["idempotency-key"] == "mine"
    kvctl("put", "k", "v", "--if-none-match", "--idempotency-key", "")
    assert "idempotency-key" not in node.sent_headers


@pytest.mark.parametrize("command", [["put", "k", "v"], ["delete", "k"]], ids=" ".join)
def test_a_conditional_write_of_unknown_outcome_is_repeated_under_its_name(node: FakeNode, command: list[str]) -> None:
    """The name that was sent is told, or, where there was none, to read first; a plain write is sent again as it is."""
    node.fail(503, "unavailable", detail="the store does not answer", outcome="unknown")
    conditional = [*command, "--if-match", VERSION]
    result = kvctl(*conditional)
    name = node.sent_headers["idempotency-key"]
    assert result.stderr.endswith(f"repeat with --idempotency-key {name})\n")
    node.says((200, "application/json", STORED))
    assert kvctl(*conditional, "--idempotency-key", name).exit_code == 0
    assert node.sent_headers["idempotency-key"] == name
    node.fail(503, "unavailable", detail="the store does not answer", outcome="unknown")
    assert "--idempotency-key 'a;b'" in kvctl(*conditional, "--idempotency-key", "a;b").stderr
    nameless = kvctl(*conditional, "--idempotency-key", "").stderr
    assert "read the key before writing again" in nameless
    assert "is safe" not in nameless
    assert "sending the same again is safe" in kvctl(*command).stderr


@pytest.mark.parametrize("command", [["put", "k", "v", "--if-none-match"], ["delete", "k", "--if-match", VERSION]])
def test_a_condition_that_does_not_hold_has_an_exit_code_of_its_own(node: FakeNode, command: list[str]) -> None:
    """Exit code 4: a script can tell "somebody was faster" from "failed"."""
    node.fail(412, "condition-failed", detail="the key has another version")
    result = kvctl(*command)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "kvctl: the key has another version\n"


def test_a_put_that_created_says_so_in_json(node: FakeNode) -> None:
    """Only what was conditional can tell it; the text for people stays as it is."""
    node.says((201, "application/json", STORED))
    found = json.loads(kvctl("put", "k", "v", "--if-none-match", "--json").stdout)
    assert found == {"key": "k", "version": VERSION, "detail": "stored", "created": True}
    assert kvctl("put", "k", "v", "--if-none-match").stdout == f"stored {VERSION}\n"


def test_writes_tell_what_became_of_them(node: FakeNode) -> None:
    """Both put and delete print the detail and the version, or the same as JSON."""
    assert kvctl("put", "k", "v").stdout == f"stored {VERSION}\n"
    assert json.loads(kvctl("delete", "k", "--json").stdout) == {"key": "k", "version": VERSION, "detail": "stored"}
    assert (node.method, node.path) == ("DELETE", "/kv/k")


def test_a_prefix_is_deleted_when_that_is_confirmed(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """--yes says so, or a person at a terminal, who can also say no."""
    node.says(
        json_answer({"data": {"deleted": 2}, "cursor": "c"}), json_answer({"data": {"deleted": 1}, "cursor": None})
    )
    assert kvctl("delete", "--prefix", "a/", "--yes").stdout == "deleted 3\n"
    assert (node.method, node.path, node.query["cursor"]) == ("DELETE", "/keys", ["c"])
    assert json.loads(kvctl("delete", "--prefix", "", "--yes", "--json").stdout) == {"deleted": 1}
    monkeypatch.setattr(_consent, "_somebody_is_there", lambda: True)
    asked = node.requests
    result = kvctl("delete", "--prefix", "a/", stdin=b"n\n")
    assert (result.exit_code, node.requests) == (1, asked)
    assert "'a/'" in result.stderr
    assert kvctl("delete", "--prefix", "a/", stdin=b"y\n").stdout.endswith("deleted 1\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["k", "--prefix", "k"], ["--prefix", "k"], ["--prefix", "k", "--yes", "--if-match", "*"]],
)
def test_delete_refuses_what_is_not_clear(node: FakeNode, arguments: list[str]) -> None:
    """Nothing named, both named, nobody to be asked, or a condition on many keys: nothing is deleted."""
    result = kvctl("delete", *arguments)
    assert (result.exit_code, node.requests) == (2, 0)


# --- list and batch ---------------------------------------------------------------------------------------------------


def page(*keys: str, cursor: str | None = None, **members: object) -> Answer:
    """Return a page of a listing."""
    line = {"version": VERSION, "size": 3, "media_type": "application/json", "expires_at": None}
    return json_answer({"data": [{"key": key, **line, **members} for key in keys], "cursor": cursor})


def test_list_prints_one_key_a_line_through_all_pages(node: FakeNode) -> None:
    """Keys come as they are; one that would break a line, or look like a quoted one, as a JSON string."""
    node.says(page("a", "b c", "é", cursor="x"), page(cursor="y"), page("d\ne", '"f"', "g\x1b[2J"))
    result = kvctl("list", "p/")
    assert result.stdout == 'a\nb c\né\n"d\\ne"\n"\\"f\\""\n"g\\u001b[2J"\n'
    assert node.query == {"prefix": ["p/"], "limit": ["1000"], "cursor": ["y"]}


def test_list_stops_at_the_limit(node: FakeNode) -> None:
    """No page is asked for that is not needed, and the cursor to go on with is told."""
    node.says(page("a", "b", cursor="x"), page("c", cursor="y"))
    result = kvctl("list", "--limit", "3")
    assert (result.stdout, result.stderr) == ("a\nb\nc\n", "kvctl: there may be more keys: go on with --cursor=y\n")
    assert (node.requests, node.query["limit"], node.query["cursor"]) == (2, ["1"], ["x"])


def test_list_goes_on_at_a_cursor(node: FakeNode) -> None:
    """Also at one that looks like an option; at the end of all keys there is none to tell."""
    node.says(page("c"))
    result = kvctl("list", "p", "--limit", "1", "--cursor=-y")
    assert (result.stdout, result.stderr, node.query["cursor"]) == ("c\n", "", ["-y"])
    kvctl("list", "p", "--cursor", "-y")
    assert (node.query["prefix"], node.query["cursor"]) == (["p"], ["-y"])


def test_list_as_json_has_the_cursor_in_its_last_line(node: FakeNode) -> None:
    """Where the limit has ended it, and nowhere else: each line stays a key."""
    node.says(page("a", cursor="x"), page("b", "c", cursor="y"))
    result = kvctl("list", "--limit", "3", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["key"], line.get("cursor")) for line in lines] == [("a", None), ("b", None), ("c", "y")]
    assert "cursor" not in lines[0]
    assert result.stderr == ""
    node.says(page("a", cursor="x"), page("b"))
    assert "cursor" not in kvctl("list", "--limit", "2", "--json").stdout


def test_list_as_json_is_a_document_a_line(node: FakeNode) -> None:
    """With what is known of each key, and with --values its value, on one line whatever is in it."""
    node.says(page("a", "b"))
    assert [json.loads(line) for line in kvctl("list", "--json").stdout.splitlines()] == [
        {"key": key, "size": 3, "version": VERSION, "media_type": "application/json", "expires_at": None}
        for key in "ab"
    ]
    node.says((200, "application/json", page("a", value="VALUE")[2].replace(b'"VALUE"', b"[1.10,\n2]")))
    result = kvctl("list", "--json", "--values")
    assert '"value":[1.10,2]' in result.stdout
    assert (result.stdout.count("\n"), node.query["values"]) == (1, ["true"])


def test_list_shows_values_as_json_only(node: FakeNode) -> None:
    """A value can hold newlines, so keys and values in plain lines could not be told apart."""
    assert kvctl("list", "--values").exit_code == 2
    assert node.requests == 0


def test_batch_does_the_lines_of_a_file(node: FakeNode, tmp_path: Path) -> None:
    """Each line is an operation as the API has it, and has a line with its result."""
    lines = [
        {"status": 201, "key": "a", "version": VERSION, "detail": "stored"},
        {
            "status": 200,
            "key": "b",
            "version": VERSION,
            "value": [1],
            "media_type": "application/json",
            "expires_at": None,
        },
        {"status": 404, "key": "c", "problem": problem_document(404, "key-not-found")},
        {"status": 202, "key": "d", "version": VERSION, "detail": "queued"},
    ]
    node.says(json_answer({"data": lines}))
    operations = [
        '{"op": "put", "key": "a", "value": 1.10, "ttl": 5, "if_none_match": "*"}',
        '{"op": "get", "key": "b"}',
        "",
        '{"op": "get", "key": "c"}',
        '{"op": "put", "key": "d", "value_base64": "AA==", "media_type": "image/png", "if_match": "*"}',
    ]
    (tmp_path / "operations").write_text("\n".join(operations), encoding="utf-8")
    result = kvctl("batch", str(tmp_path / "operations"), "--ack", "stored")
    assert (result.exit_code, node.query) == (0, {"ack": ["stored"]})
    assert json.loads(node.body)["operations"] == [json.loads(line) for line in operations if line]
    assert b"1.10" in node.body
    value = {"value": [1], "version": VERSION, "media_type": "application/json", "expires_at": None}
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"op": "put", "key": "a", "version": VERSION, "detail": "stored", "created": True},
        {"op": "get", "key": "b", **value},
        {"op": "get", "key": "c", "detail": "the key does not exist"},
        {"op": "put", "key": "d", "version": VERSION, "detail": "queued"},
    ]


def test_a_batch_with_a_failure_exits_1(node: FakeNode) -> None:
    """The line says why and what became of it, and the others are done."""
    lines = [
        {
            "status": 503,
            "key": "a",
            "problem": problem_document(503, "unavailable", detail="down", outcome="not-applied"),
        },
        {"status": 200, "key": "b", "version": VERSION, "detail": "stored"},
    ]
    node.says(json_answer({"data": lines}), json_answer({"data": lines[:1]}))
    result = kvctl("batch", "-", stdin=b'{"op":"delete","key":"a"}\n{"op":"delete","key":"b"}\n')
    assert result.exit_code == 1
    failed, done = (json.loads(line) for line in result.stdout.splitlines())
    assert failed == {"op": "delete", "key": "a", "error": "down", "outcome": "not-applied"}
    assert done["detail"] == "stored"
    assert result.stderr == "kvctl: 1 of 2 operations failed\n"


def test_a_conditional_operation_of_unknown_outcome_is_to_be_read_first(node: FakeNode) -> None:
    """It has no name to be repeated under; the plain one beside it is sent again as it is. So is the request as a whole."""
    down = problem_document(503, "unavailable", detail="down", outcome="unknown")
    node.says(json_answer({"data": [{"status": 503, "key": key, "problem": down} for key in "ab"]}))
    operations = b'{"op":"delete","key":"a","if_match":"*"}\n{"op":"put","key":"b","value":1,"if_none_match":"*"}\n'
    result = kvctl("batch", "-", stdin=operations)
    errors = [json.loads(line)["error"] for line in result.stdout.splitlines()]
    assert all("read the key before writing again" in error for error in errors)
    assert len(errors) == 2
    named = operations.replace(b"}", b',"idempotency_key":"n"}')
    assert kvctl("batch", "-", stdin=named).stdout.count("sending the same again is safe") == 2
    assert [one["idempotency_key"] for one in json.loads(node.body)["operations"]] == ["n", "n"]
    node.fail(503, "unavailable", detail="down", outcome="unknown")
    assert "but for operations with a condition and no idempotency_key" in kvctl("batch", "-", stdin=operations).stderr


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"op": "burn", "key": "a"}',
        b'{"op": "put", "key": "a"}',
        b'{"op": "put", "key": "a", "value": 1, "value_base64": ""}',
        b'{"op": "get", "key": "a", "ttl": 1}',
        b'{"op": "put", "key": "a", "value": 1, "ttl": 0}',
        b'{"op": "get", "key": "\xff"}',
    ],
)
def test_a_line_that_is_no_operation_is_named(node: FakeNode, line: bytes) -> None:
    """By its number, and nothing of what would have gone out with it is sent."""
    result = kvctl("batch", "-", stdin=b'{"op":"delete","key":"a"}\n' + line)
    assert (result.exit_code, node.requests) == (1, 0)
    assert "line 2 is no operation" in result.stderr


def test_batch_and_list_stay_quiet_where_there_is_no_terminal(node: FakeNode) -> None:
    """Progress is for people: none of it goes into a log."""
    node.says(json_answer({"data": {"deleted": 2}, "cursor": None}))
    assert kvctl("delete", "--prefix", "a", "--yes").stderr == ""


@pytest.mark.parametrize(("terminals", "shown"), [(("stderr",), True), (("stdout", "stderr"), False), ((), False)])
def test_batch_shows_how_far_it_is_where_its_results_do_not(
    node: FakeNode, terminals: tuple[str, ...], shown: bool
) -> None:
    """On a terminal that has no results, in a line that is gone at the end; never among results."""
    node.says(json_answer({"data": [{"status": 200, "key": "a", "version": VERSION, "detail": "stored"}]}))
    ours, theirs = os.openpty()
    out, err = (theirs if name in terminals else subprocess.DEVNULL for name in ("stdout", "stderr"))
    command = [sys.executable, "-m", "kvcore.cli", "batch", "-"]
    subprocess.run(command, input=b'{"op":"delete","key":"a"}', stdout=out, stderr=err, check=True, timeout=60)
    os.write(theirs, b"that is all\n")
    seen = b""
    while not seen.endswith(b"that is all\r\n"):
        seen += os.read(ours, 10_000)
    os.close(theirs)
    os.close(ours)
    assert (b"1 operations" in seen) is shown


# --- whatever is asked ------------------------------------------------------------------------------------------------


def test_a_problem_is_shown_as_its_detail(node: FakeNode) -> None:
    """What the node says is wrong is what the user reads; of a write that may have happened also that."""
    node.fail(412, "condition-failed", detail="the key has another version")
    assert kvctl("put", "k", "v").stderr == "kvctl: the key has another version\n"
    node.fail(503, "unavailable", detail="the store does not answer", outcome="unknown")
    result = kvctl("put", "k", "v")
    assert result.exit_code == 1
    assert result.stderr.startswith("kvctl: the store does not answer (outcome: unknown")
    node.fail(503, "unavailable", detail="the store does not answer", outcome="not-applied")
    assert kvctl("put", "k", "v").stderr == "kvctl: the store does not answer\n"


@pytest.mark.parametrize(
    ("status", "problem", "hint"),
    [
        (401, "unauthenticated", "--token-file"),
        (403, "forbidden", "--token-file"),
        (429, "rate-limited", "kvctl batch"),
        (501, "unsupported", "kvctl plugins"),
    ],
)
def test_a_refusal_says_what_to_do(node: FakeNode, status: int, problem: str, hint: str) -> None:
    """Who lacks a token, or asks too much, is told what helps, in one line."""
    node.fail(status, problem, detail="no")
    for arguments in (["get", "k"], ["put", "k", "v"], ["list"], ["delete", "--prefix", "k", "--yes"]):
        result = kvctl(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert hint in result.stderr


def test_the_token_comes_from_the_environment_or_a_file(
    node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never from an argument, which every user of the machine can read; the file goes first."""
    node.says(value_of(b"1"))
    kvctl("get", "k")
    assert "authorization" not in node.sent_headers
    monkeypatch.setenv("KVCORE_TOKEN", TOKEN)
    kvctl("get", "k")
    assert node.sent_headers["authorization"] == f"Bearer {TOKEN}"
    (tmp_path / "token").write_text("another\n")
    kvctl("get", "k", "--token-file", str(tmp_path / "token"))
    assert node.sent_headers["authorization"] == "Bearer another"


def test_two_conditions_are_wrong_usage(node: FakeNode) -> None:
    """A write has one, and the message speaks of the options."""
    result = kvctl("put", "k", "v", "--if-match", VERSION, "--if-none-match")
    assert (result.exit_code, node.requests) == (2, 0)
    assert "--if-match" in result.stderr


@pytest.mark.parametrize(
    "content", [None, b"", f"{TOKEN} {TOKEN}".encode(), b"\xff"], ids=["none", "empty", "two", "binary"]
)
def test_a_file_without_a_token_is_one_clear_line(node: FakeNode, tmp_path: Path, content: bytes | None) -> None:
    """It is named, and what is in it is not shown."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    result = kvctl("get", "k", "--token-file", str(tmp_path / "token"))
    assert (result.exit_code, result.stderr.count("\n"), node.requests) == (1, 1, 0)
    assert "token" in result.stderr
    assert TOKEN not in result.stderr
    assert "Error" not in result.stderr


@pytest.mark.parametrize("answer", [(502, "text/html", b"<html>"), (204, "text/html", b""), (404, "text/plain", b"")])
def test_an_answer_of_something_else_is_not_taken_for_a_node(node: FakeNode, answer: Answer) -> None:
    """Whatever else listens at the URL is named as such, without a traceback, and is never "key not found"."""
    node.says(answer)
    for arguments in (["get", "k"], ["put", "k", "v"], ["delete", "k"], ["list"], ["health"]):
        result = kvctl(*arguments)
        assert result.exit_code == 1
        assert "is it a node?" in result.stderr


def test_health_is_printed_and_decides_the_exit_code(node: FakeNode) -> None:
    """A degraded node is no failure, an unhealthy one is; the document is printed in both cases."""
    for status, code, exit_code in (("healthy", 200, 0), ("degraded", 200, 0), ("unhealthy", 503, 1)):
        node.says((code, "application/json", json.dumps(HEALTH | {"status": status}).encode()))
        result = kvctl("health", "--json")
        assert (json.loads(result.stdout)["status"], result.exit_code) == (status, exit_code)
        assert "sqlite" in kvctl("health").stdout


def test_a_node_that_is_not_there_is_one_clear_line() -> None:
    """A refused connection says what to do: start a node, or name another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        result = kvctl("get", "k", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "kvctl serve" in result.stderr
    assert "--url" in result.stderr


@pytest.mark.parametrize("arguments", [["get", "k"], ["get", "k", "--json"], ["list"]], ids=" ".join)
def test_a_full_disk_is_one_clear_line(node: FakeNode, arguments: list[str]) -> None:
    """What cannot be printed fails, and is no traceback."""
    line = {"key": "k", "version": VERSION, "size": 1, "media_type": "application/json", "expires_at": None}
    node.says(json_answer({"data": [line], "cursor": None}))
    done = subprocess.run(
        ["sh", "-c", '"$@" > /dev/full', "sh", sys.executable, "-m", "kvcore.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "kvctl: stdout cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/kv", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1:notaport", "http://[::"]
)
def test_a_url_that_is_none_is_one_clear_line(url: str) -> None:
    """A wrong --url is named."""
    result = kvctl("get", "k", "--url", url)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert url in result.stderr


def test_a_key_that_is_not_text_is_wrong_usage(node: FakeNode) -> None:
    """Bytes from the shell that are no UTF-8 are refused before a node is asked."""
    for arguments in (["get", "\udcff"], ["list", "\udcff"], ["delete", "--prefix", "\udcff", "--yes"]):
        result = kvctl(*arguments)
        assert (result.exit_code, node.method) == (2, "")
