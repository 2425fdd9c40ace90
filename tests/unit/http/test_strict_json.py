"""What is refused in JSON beyond its grammar, against the standard library's slower reading."""

from __future__ import annotations

import gc
import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvcore.http.problems import InvalidRequestError
from kvcore.http.strict_json import check_content, check_depth

TEXTS = st.text(st.sampled_from('a:"\\[]{},é\U0001f600\u2028/'), max_size=6)
ESCAPES = st.sampled_from(
    [r"\u003a", r"\u003A", r"\\u003a", r"\\", r"\"", r"\n", ":", "a", r"\u0022", "[", "]", "{", "}"]
)
STRINGS = TEXTS.map(json.dumps) | st.lists(ESCAPES, max_size=5).map(lambda parts: '"' + "".join(parts) + '"')
NUMBERS = st.sampled_from(
    ["0", "-1", "1.5", "1e5", "1e308", "1e309", "-1E400", "9" * 308, "9" * 309, "0." + "9" * 400, "1" + "0" * 308]
)
SCALARS = st.sampled_from(["null", "true"]) | STRINGS | NUMBERS
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]")
        | st.lists(st.tuples(STRINGS, inner), max_size=4).map(
            lambda members: "{" + ",".join(f"{name} :{value}" for name, value in members) + "}"
        )
    ),
    max_leaves=12,
)


def depth_of(document: Any) -> int:
    """Return the levels of a document whose objects are lists of their values."""
    return 1 + max(map(depth_of, document), default=0) if isinstance(document, list) else 0


def is_strict(text: str) -> bool:
    """Tell whether no member is there twice, and no number is out of range."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def finite(number: str) -> float:
        if math.isinf(float(number)):
            raise ValueError("out of range")
        return 0.0

    try:
        json.loads(text, object_pairs_hook=once, parse_float=finite, parse_int=finite)
    except ValueError:
        return False
    return True


def is_taken(text: str) -> bool:
    """Tell whether the content of a document is taken."""
    try:
        check_content(text.encode())
    except InvalidRequestError:
        return False
    return True


@given(DOCUMENTS)
@example('{"a":"\\u003a","a":1}')
@example('{"a:":1,"a\\u003a":2}')
@example('{"a":"\\\\u003a"}')
@example("[" + "9" * 309 + "]")
def test_the_content_is_judged_as_by_the_standard_library(text: str) -> None:
    """A document is taken if and only if no object has a member twice and every number is a double."""
    assert is_taken(text) == is_strict(text)


@given(DOCUMENTS, st.integers(0, 6))
def test_the_depth_is_that_of_the_document(text: str, levels: int) -> None:
    """A document is refused if and only if it has more levels; brackets in strings are none."""
    deep = False
    try:
        check_depth(text.encode(), levels)
    except InvalidRequestError:
        deep = True
    document = json.loads(text, object_pairs_hook=lambda pairs: [value for _, value in pairs])
    assert deep == (depth_of(document) > levels)


@pytest.mark.parametrize("levels", [2, 7, 8, 9, 63, 64, 65, 1000])
def test_the_depth_is_found_wherever_it_is(levels: int) -> None:
    """Siblings before and after the deepest place change nothing."""
    body = b"[" + b"[],{}," * 5 + b'{"]":' * (levels - 1) + b"1" + b"}" * (levels - 1) + b",[]" * 3 + b"]"
    check_depth(body, levels)
    with pytest.raises(InvalidRequestError, match=f"more than {levels - 1} levels"):
        check_depth(body, levels - 1)


@pytest.mark.parametrize("body", [b"[" * 100_000, b"]" * 100_000 + b"[" * 100, b'"' + b"[" * 100, b'"\\' + b"[" * 100])
def test_the_depth_of_what_is_no_json_is_no_fault(body: bytes) -> None:
    """Whatever is sent, the answer is a refusal or none; what is not refused here is not JSON, which is found later."""
    with suppress(InvalidRequestError):  # what it says of the document is of no matter here
        check_depth(body, 64)


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("body", [b"[" + b"[]," * 5000 + b"1]", b"[" * 5000])
def test_the_garbage_collection_is_left_as_it_was(body: bytes, is_enabled: bool) -> None:
    """A large body, right or wrong, does not change whether garbage is collected."""
    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        is_taken(body.decode())
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
