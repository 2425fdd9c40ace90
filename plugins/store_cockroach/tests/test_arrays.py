"""Arrays as the server reads them."""

from __future__ import annotations

import pytest

from kvcore_store_cockroach import CockroachSettings
from kvcore_store_cockroach.arrays import Blobs, Integers, Texts
from kvcore_store_cockroach.connecting import connect
from kvcore_store_cockroach.translating import RefusedError

TEXTS = ["", "a", "NULL", '"{,}\\', "é", "\U0010ffff", " ", "x" * 70_000]
BLOBS = [None, b"", b"\0", bytes(range(256)), None, b"x" * 70_000, b"null", b"\\x00"]
INTEGERS = [None, 0, 1, -1, 2**48 - 1, 2**63 - 1, -(2**63), None]


@pytest.mark.parametrize("count", [1, 8])
async def test_the_server_finds_in_an_array_what_was_put_into_it(migrated: CockroachSettings, count: int) -> None:
    """Text, bytes and integers arrive as they were, NULL included, in any number."""
    columns = Texts.of(TEXTS[:count]), Blobs.of(BLOBS[:count]), Integers.of(INTEGERS[:count])
    async with await connect(migrated, migrated.hosts[0]) as connection:
        query = b"SELECT * FROM unnest(%b::text[], %b::bytea[], %b::int8[]) AS it (a, b, c)"
        cursor = await connection.execute(query, columns, prepare=True, binary=True)
        assert await cursor.fetchall() == list(zip(TEXTS[:count], BLOBS[:count], INTEGERS[:count], strict=True))


def test_what_is_no_text_is_refused() -> None:
    """A text that UTF-8 cannot write is refused before it is sent."""
    with pytest.raises(RefusedError, match="cannot be written as UTF-8"):
        Texts.of(["a", "\ud800"])
