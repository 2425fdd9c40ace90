"""What travels in a message."""

from __future__ import annotations

import msgspec
import pytest

from kvcore.model import PRESENT, Entry, Mutation, Outcome, Verdict, Version
from kvcore_queue_rabbitmq.packing import (
    NOTHING,
    UnreadableError,
    pack,
    pack_outcomes,
    portions,
    unpack,
    unpack_outcomes,
)


def put(key: str, size: int = 0) -> Mutation:
    """Return a write of `size` bytes."""
    return Mutation(key, Entry(Version("1" * 24), bytes(size)))


def test_mutations_come_back_as_they_were() -> None:
    """A pack is read as what it was made of: conditions, tombstones and expiries included."""
    mutations = [put("é/😀", 3), Mutation("k", Entry(Version("2" * 24), None, "text/plain", 2**50), PRESENT)]
    assert unpack(pack(mutations)) == mutations
    assert unpack(NOTHING) == []


def test_outcomes_come_back_as_they_were() -> None:
    """So is a reply."""
    outcomes = [Outcome(Verdict.CONFLICT, Version("3" * 24), True, "why"), Outcome(Verdict.APPLIED)]
    assert unpack_outcomes(pack_outcomes(outcomes)) == outcomes


def test_fields_of_a_later_release_are_passed_over() -> None:
    """A mutation to which a later release has appended a field is read without it."""
    (written,) = msgspec.msgpack.decode(pack([put("key")])[1:])
    assert unpack(b"\x01" + msgspec.msgpack.encode([[*written, "appended"]])) == [put("key")]


@pytest.mark.parametrize("body", [b"", b"\x02\x90", b"\x01", b"\x01\x91\x01", b"\x01\xff", b"\x01\x90\x90"])
def test_what_cannot_be_read_is_told_apart(body: bytes) -> None:
    """An empty body, another format, a truncated or a foreign one each raise the one error that says so."""
    with pytest.raises(UnreadableError):
        unpack(body)
    with pytest.raises(UnreadableError):
        unpack_outcomes(body)


def test_portions_keep_the_order_and_the_limit() -> None:
    """A portion is as long as the limit allows; a mutation that is larger by itself travels alone."""
    mutations = [put("a", 400), put("b", 400), put("c", 2000), put("d", 1), put("e", 1)]
    found = [[mutation.key for mutation in portion] for portion in portions(mutations, 1000)]
    assert found == [["a", "b"], ["c"], ["d", "e"]]
    assert list(portions([], 1000)) == []
