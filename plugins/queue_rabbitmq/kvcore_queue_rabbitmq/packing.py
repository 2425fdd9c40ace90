"""What a message carries: a version byte, then a list in msgpack.

The structs of `kvcore.model` are arrays whose fields are only ever appended, so nodes of neighbouring releases read
each other. The byte is for the day when that is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from kvcore.model import Mutation, Outcome

__all__ = ("NOTHING", "UnreadableError", "pack", "pack_outcomes", "portions", "unpack", "unpack_outcomes")

_VERSION: Final = b"\x01"
_encode = msgspec.msgpack.Encoder().encode
_mutations = msgspec.msgpack.Decoder(list[Mutation])
_outcomes = msgspec.msgpack.Decoder(list[Outcome])

T = TypeVar("T")


class UnreadableError(Exception):
    """A message that no node of this release has written; it stays inside this plugin."""


def portions(mutations: Sequence[Mutation], max_bytes: int) -> Iterator[Sequence[Mutation]]:
    """Yield the mutations in order, in portions of about `max_bytes` at most, or of a single larger one."""
    start = size = 0
    for position, mutation in enumerate(mutations):
        size += mutation.size_bytes
        if size > max_bytes and position > start:
            yield mutations[start:position]
            start, size = position, mutation.size_bytes
    if start < len(mutations):
        yield mutations[start:]


def pack(mutations: Sequence[Mutation]) -> bytes:
    """Return the body of a message."""
    return _VERSION + _encode(mutations)


def unpack(body: bytes) -> list[Mutation]:
    """Return what a message carries.

    Raises:
        UnreadableError: its format is not known here.
    """
    return _unpacked(_mutations, body)


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Return the body of a reply."""
    return _VERSION + _encode(outcomes)


def unpack_outcomes(body: bytes) -> list[Outcome]:
    """Return what a reply carries; raises as `unpack`."""
    return _unpacked(_outcomes, body)


def _unpacked(decoder: msgspec.msgpack.Decoder[list[T]], body: bytes) -> list[T]:
    if body[:1] != _VERSION:
        raise UnreadableError(f"format {body[:1].hex() or 'none'} is not known to this release")
    try:
        return decoder.decode(memoryview(body)[1:])
    except msgspec.DecodeError as error:
        raise UnreadableError(f"not readable: {error}") from error


NOTHING: Final = pack(())
"""A message of no mutations, which consumers pass over: it proves that a queue takes messages."""
