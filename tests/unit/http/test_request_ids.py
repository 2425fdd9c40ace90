"""What makes a request that is sent again the same request."""

from __future__ import annotations

from typing import Any

import pytest

from kvcore.access import ANYBODY, Grant
from kvcore.http.headers import write_headers
from kvcore.http.writes import Write, request_id

CREATE = (b"if-none-match", b"*")
NAMED = (b"idempotency-key", b"name")
GIVEN: dict[str, Any] = {
    "headers": (CREATE, NAMED),
    "grant": ANYBODY,
    "key": "key",
    "value": b"value",
    "media_type": "text/plain",
    "ttl_s": 60,
}


def id_of(headers: tuple[tuple[bytes, bytes], ...], grant: Grant, **parts: Any) -> bytes:
    """Return the id of a request with these header fields."""
    return request_id(grant, Write(condition=write_headers(headers).condition, **parts))


@pytest.mark.parametrize(
    "change",
    [
        {"headers": (CREATE, (b"idempotency-key", b"name2"))},
        {"headers": ((b"if-match", b"*"), NAMED)},
        {"grant": Grant("another token", frozenset(("write",)))},
        {"value": None},
        {"key": "key2"},
        {"value": b"value2"},
        {"value": b"valuetext", "media_type": "/plain"},
        {"media_type": "text/html"},
        {"ttl_s": 61},
        {"ttl_s": None},
    ],
    ids=lambda change: ", ".join(change),
)
def test_each_part_of_a_request_tells_it_from_others(change: dict[str, Any]) -> None:
    """A request of another token, or with any other part, is another request, however its parts are put together."""
    assert id_of(**GIVEN) != id_of(**GIVEN | change)


def test_the_same_request_has_the_same_id() -> None:
    """Quotes and other header fields do not matter; the id has 32 bytes."""
    quoted = (CREATE, (b"idempotency-key", b' "name" '), (b"x-request-id", b"1"))
    assert id_of(**GIVEN) == id_of(**GIVEN | {"headers": quoted})
    assert len(id_of(**GIVEN)) == 32


def test_a_request_without_a_name_has_no_id() -> None:
    """Whoever names nothing is not remembered."""
    assert id_of(**GIVEN | {"headers": (CREATE,)}) == b""
