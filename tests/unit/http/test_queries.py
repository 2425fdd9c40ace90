"""Queries are read strictly, and a refusal says what is wanted."""

from __future__ import annotations

import pytest

from kvcore.http.forms import KeyReadQuery, NoQuery, RawPutQuery, WriteQuery
from kvcore.http.keys import ListQuery
from kvcore.http.problems import InvalidRequestError
from kvcore.http.requests import read_query


@pytest.mark.parametrize(
    ("raw", "form", "wanted"),
    [
        (b"ttl=abc", RawPutQuery, "'ttl' is a whole number from 1 to 3162240000"),
        (b"ttl=0", RawPutQuery, "'ttl' is a whole number from 1 to 3162240000"),
        (b"ttl=1e3", RawPutQuery, "'ttl' is a whole number"),
        (b"ttl=60.0", RawPutQuery, "'ttl' is a whole number"),
        (b"ttl=null", RawPutQuery, "'ttl' is a whole number"),
        (b"ack=foo", RawPutQuery, "'ack' is accepted or stored"),
        (b"key=k&min_version=abc", KeyReadQuery, "'min_version' has another form. A version, as in an ETag"),
        (b"key=k&wait=60000", KeyReadQuery, "'wait' is a whole number from 0 to 10000"),
        (b"values=yes", ListQuery, "'values' is true or false"),
        (b"kee=k", KeyReadQuery, "no query parameter 'kee' here, but min_version, wait, key"),
        (b"a=b&key=k", WriteQuery, "no query parameter 'a' here, but ack"),
        (b"a=b", NoQuery, "but none at all"),
        (b"", KeyReadQuery, "key"),
    ],
)
def test_a_parameter_of_a_wrong_form_is_told_what_it_is(raw: bytes, form: type, wanted: str) -> None:
    """The refusal names the parameter, its bounds or choices, and what it means."""
    with pytest.raises(InvalidRequestError) as raised:
        read_query(raw, form)
    assert wanted in str(raised.value)


def test_what_is_right_is_taken() -> None:
    """Whole numbers in digits, and choices by name."""
    query = read_query(b"ttl=3162240000&ack=stored", RawPutQuery)
    assert (query.ttl, query.ack) == (3_162_240_000, "stored")
