"""Records are the same wherever what is read was cut, and what is wrong costs no more than itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from kvcore.transfer import splitting
from kvcore.transfer.compression import DamagedError
from kvcore.transfer.foreign import consul_item, etcd_item
from kvcore.transfer.lines import UnreadableError
from kvcore.transfer.splitting import Record, records

LINES = b'{"key":"a","value":1}\n\n {"key":"b","value":"[\\"{"}\r\n{"key":"c","value":3}'


def encoded(text: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(text).decode()


ETCD = json.dumps(
    {
        "header": {"cluster_id": 14841639068965178418, "member_id": 1, "revision": 9, "raft_term": 2},
        "kvs": [
            {"key": encoded(b"a"), "create_revision": 2, "mod_revision": 2, "version": 1, "value": encoded(b"1")},
            {"key": encoded(b"b/\xc3\xa9"), "create_revision": 3, "mod_revision": 3, "version": 1},
            {"key": encoded(b"\xff"), "value": encoded(b"x"), "lease": 7587862094},
        ],
        "count": 3,
    },
    separators=(",", ":"),
).encode()
CONSUL = json.dumps(
    [
        {"key": 'a"]{[}\\', "flags": 0, "value": encoded(b"1")},
        {"key": "b", "flags": 42, "value": ""},
        {"key": "c/", "flags": 0, "value": encoded(b"\x00" * 50)},
    ],
    indent="\t",
).encode()


def read(
    data: bytes, *, cuts: int | None = None, size: int | None = None, damage: str = ""
) -> tuple[str, list[Record]]:
    """Return the format and records of data that arrives in two pieces, or in pieces of a size; `damage` at its end."""

    def chunks() -> Iterator[bytes]:
        if size is not None:
            yield from (data[at : at + size] for at in range(0, len(data), size))
        elif cuts is not None:
            yield from (piece for piece in (data[:cuts], data[cuts:]) if piece)
        elif data:
            yield data
        if damage:
            raise DamagedError(damage)

    kind, found = records(chunks())
    return kind, list(found)


@pytest.mark.parametrize(("data", "kind"), [(LINES, "kvcore"), (ETCD, "etcd"), (CONSUL, "consul")])
def test_records_are_the_same_wherever_they_are_cut(data: bytes, kind: str) -> None:
    """A chunk may end at any byte, and may be a single byte."""
    whole = read(data)
    assert (whole[0], len(whole[1])) == (kind, 3)
    assert not any(record.problem for record in whole[1])
    for at in range(len(data)):
        assert read(data, cuts=at) == whole
    assert read(data, size=1) == whole


def test_lines_are_counted_with_those_that_are_empty() -> None:
    """The number is that of an editor; a line is the bytes that it is, without its end."""
    assert read(LINES)[1] == [
        Record(1, b'{"key":"a","value":1}'),
        Record(3, b' {"key":"b","value":"[\\"{"}\r'),
        Record(4, b'{"key":"c","value":3}'),
    ]


def test_a_last_line_without_its_end_is_told_when_it_is_cut() -> None:
    """A file that ends after an object is whole; one that ends within a line is not."""
    assert read(b'{"key":"a","value":1}')[1][0].problem == ""
    assert "ends within this line" in read(b'{"key":"a","val')[1][0].problem
    assert read(b"") == ("kvcore", [])


def test_a_line_longer_than_the_limit_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by its number, is not held in memory, and what follows is read."""
    monkeypatch.setattr(splitting, "MAX_RECORD_BYTES", 100)
    long = b'{"key":"' + b"x" * 500 + b'","value":1}'
    found = read(b'{"key":"a"}\n' + long + b'\n{"key":"b"}\n' + long, size=30)[1]
    assert [(record.number, record.raw, bool(record.problem)) for record in found] == [
        (1, b'{"key":"a"}', False),
        (2, b"", True),
        (3, b'{"key":"b"}', False),
        (4, b"", True),
    ]


def test_a_damaged_end_is_told_after_what_could_be_read() -> None:
    """What was read before stays, and the line that the damage has cut is a problem, as is damage between two lines."""
    for rest in (b'{"key":"b"', b""):
        found = read(b'{"key":"a","value":1}\n' + rest, damage="cut off")[1]
        assert found == [Record(1, b'{"key":"a","value":1}'), Record(2, rest, "cut off")]
    assert read(ETCD, damage="cut off")[1][-1].problem == "cut off"
    assert read(b"", damage="cut off")[1] == [Record(1, b"", "cut off")]


@pytest.mark.parametrize("data", [ETCD, CONSUL])
def test_an_array_that_is_cut_anywhere_is_told(data: bytes) -> None:
    """Whatever is missing of a document, down to its last bracket, is a problem, and no record is read half."""
    whole = [record.raw for record in read(data)[1]]
    inner = data.rindex(b"]")
    for end in range(len(data[:inner])):
        kind, found = read(data[:end])
        if kind == "kvcore":
            continue  # too short to be told from lines; a line that is cut is told too
        assert found[-1].problem, data[:end]
        assert [record.raw for record in found[:-1]] == whole[: len(found) - 1]


def test_one_bad_element_costs_only_itself() -> None:
    """A wrong type, an object within, or something else than an object: the elements around it are read."""
    bad = [{"key": 1, "flags": 0, "value": ""}, {"key": "x", "value": {"no": "thing"}}, "text", 7]
    for element in bad:
        document = json.dumps([{"key": "a", "value": ""}, element, {"key": "b", "value": ""}]).encode()
        good = []
        for record in read(document)[1]:
            try:
                good.append(consul_item(record.raw, "text/plain").key)
            except UnreadableError:
                assert record.raw
        assert good == ["a", "b"]


def test_what_stands_behind_an_array_is_told() -> None:
    """Two exports in one file are not taken for one; etcd's word that there is more is not passed over."""
    assert "stands behind" in read(CONSUL + b"\n" + CONSUL)[1][-1].problem
    assert "more keys" in read(ETCD.replace(b'"count"', b'"more":true,"count"'))[1][-1].problem
    assert not read(CONSUL + b"\n")[1][-1].problem


def test_no_keys_at_all_is_no_problem() -> None:
    """Where there are none, etcd leaves the array out, and Consul writes an empty one."""
    assert read(b'{"header":{"cluster_id":1,"revision":1}}\n') == ("etcd", [])
    assert read(b'{"header":{"revision":1},"kvs":[],"count":0}') == ("etcd", [])
    assert read(b"[]\n") == ("consul", [])


def test_an_endless_element_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A string that is never closed is not collected in memory until there is none left."""
    monkeypatch.setattr(splitting, "MAX_RECORD_BYTES", 100)
    found = read(b'[{"key":"a","value":""},{"key":"' + b"x" * 5000, size=20)[1]
    assert len(found) == 2
    assert "nothing behind it was read" in found[1].problem


def test_etcd_s_records_become_items() -> None:
    """Keys and values are decoded, an empty value is one; keys that are no text are refused, leases are named as dropped."""
    first, second, third = (record.raw for record in read(ETCD)[1])
    one, two = etcd_item(first, "text/plain"), etcd_item(second, "text/plain")
    assert (one.key, one.value, one.media_type, one.dropped) == ("a", b"1", "text/plain", "")
    assert (two.key, two.value) == ("b/é", b"")
    with pytest.raises(UnreadableError, match="not UTF-8"):
        etcd_item(third, "text/plain")
    assert etcd_item(third.replace(encoded(b"\xff").encode(), b"YQ=="), "text/plain").dropped == "leases"


def test_consul_s_records_become_items() -> None:
    """Keys are text and values base64; flags that are set are named as dropped."""
    one, two, three = (consul_item(record.raw, "a/b") for record in read(CONSUL)[1])
    assert (one.key, one.value, one.dropped) == ('a"]{[}\\', b"1", "")
    assert (two.value, two.dropped) == (b"", "flags")
    assert three.value == b"\x00" * 50
