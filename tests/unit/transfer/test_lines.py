"""Keys as lines: whatever a key holds comes back from its line, byte for byte."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvcore.client import Value
from kvcore.model import JSON
from kvcore.transfer.lines import UnreadableError, item_of, line_of

VERSION = "0198f3a7c2d10000a1b2c3d4"
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
WHITE = st.text(" \t\r\n")
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
JSON_VALUES = st.builds(
    lambda document, before, behind, indent, ascii_only: (
        before + json.dumps(document, indent=indent, ensure_ascii=ascii_only) + behind
    ).encode(errors="replace"),
    DOCUMENTS,
    WHITE,
    WHITE,
    st.none() | st.integers(0, 2),
    st.booleans(),
)
TIMES = st.none() | st.integers(0, 4102444800000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))


@settings(deadline=None)  # a machine may be slow
@given(
    KEYS,
    JSON_VALUES.map(lambda data: (data, JSON))
    | st.tuples(st.binary(), st.sampled_from(["application/octet-stream", "text/plain; charset=latin-1", JSON])),
    TIMES,
)
@example("k", (b"1.0", JSON), None)
@example("k", (b"1e999", JSON), None)
@example("k", (b'{"a":1,"a":2}', JSON), None)
@example("k", (b'{"a":\n1}', JSON), None)
@example("k", (b" 1", JSON), None)
@example("k", (b'"\xe2\x80\xa8\\u00e9\\/"', JSON), None)
@example("k", (b"", JSON), None)
def test_whatever_a_key_holds_comes_back(key: str, held: tuple[bytes, str], expires_at: datetime | None) -> None:
    """Key, value, media type, version and expiry are those that were written, and a line has no end but its last byte."""
    data, media_type = held
    try:
        json.loads(data)
    except ValueError:
        media_type = "image/png" if media_type == JSON and data else media_type
    line = line_of(key, Value(data=data, media_type=media_type, version=VERSION, expires_at=expires_at))
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    if data == b'{"a":1,"a":2}':
        return  # no node takes it: see below
    item = item_of(line[:-1])
    assert (item.key, item.value, item.media_type, item.version) == (key, data, media_type, VERSION)
    assert item.expires_at == expires_at


def test_json_stands_in_the_line_as_it_was_written() -> None:
    """No number loses a digit and no string an escape; what has more than a line, or ends in white space, is in base64."""
    for data in (b"1.0", b"1e400", b'{ "b" : 1.0e0 }', b'"\\u00e9\\/"', b"123456789012345678901234567890.10"):
        line = line_of("k", Value(data=data, media_type=JSON, version=VERSION))
        assert b'"value":' + data + b"," in line
    for data in (b"[\n]", b"1 ", b"\t1", b"[\r]"):
        line = line_of("k", Value(data=data, media_type=JSON, version=VERSION))
        assert b'"value_base64":"' + base64.b64encode(data) in line


def test_a_line_says_all_there_is_in_a_fixed_order() -> None:
    """The members and their order are those that are documented."""
    ends = datetime(2030, 1, 2, 3, 4, 5, 678000, UTC)
    line = line_of("k", Value(data=b"1", media_type=JSON, version=VERSION, expires_at=ends))
    shown = f'"media_type":"application/json","version":"{VERSION}","expires_at":"2030-01-02T03:04:05.678000Z"'
    assert line.decode() == f'{{"key":"k","value":1,{shown}}}\n'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "truncated"),
        (b'{"key":"k","value":1', "truncated"),
        (b'{"key":"k"}', "one of value and value_base64"),
        (b'{"key":"k","value":1,"value_base64":"AA=="}', "one of value and value_base64"),
        (b'{"value":1}', "missing required field `key`"),
        (b'{"key":1,"value":1}', "Expected `str`, got `int`"),
        (b'{"key":"k","value_base64":"?"}', "base64"),
        (b'{"key":"k","value":1,"media_type":7}', "$.media_type"),
        (b'{"key":"k","value":1,"media_type":"text/plain"}', "stands in value_base64"),
        (b'{"key":"k","value":1,"expires_at":"2030-01-01T00:00:00"}', "timezone"),
        (b'{"key":"k","value":1,"tttl":5}', "unknown field `tttl`"),
        (b'{"key":"k","key":"j","value":1}', "given twice"),
        (b'{"key":"k","value":1,"value":2}', "given twice"),
        (b'{"key":"k","value":{"a":1,"a":2}} ', "given twice"),
        (b'{"key":"k","value":"\xff"}', "not UTF-8, at byte 21"),
        (b'{"key":"k","value":"\xff","expires_at":null}', "not UTF-8, at byte 21"),
        (b'{"key":"\xff","value":1}', "not UTF-8"),
        (b'[{"key":"k","value":1}]', "Expected `object`"),
        (b'{"key":"k","value":1}{"key":"l","value":1}', "malformed"),
        (b'{"key":"k","value":tru}', "malformed"),
        (b'{"key":"k","value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
    ],
)
def test_a_line_that_is_none_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    """What is truncated, of a wrong type, unknown, said twice or no text is no key, and the reason says which."""
    with pytest.raises(UnreadableError, match=re.escape(reason)):
        item_of(line)


def test_a_line_written_by_hand_needs_no_more_than_key_and_value() -> None:
    """Members in any order, with white space, and without what a new key does not have."""
    item = item_of(b' { "value" : [1, 2] , "key" : "k" } ')
    assert (item.key, item.value, item.media_type, item.version, item.expires_at) == ("k", b"[1, 2]", JSON, None, None)
    assert item_of(b'{"key":"k","value_base64":"AP8="}').media_type == "application/octet-stream"
