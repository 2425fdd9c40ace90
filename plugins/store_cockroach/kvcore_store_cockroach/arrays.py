"""Columns of a batch as binary arrays, which is how many rows travel in one statement.

The driver makes arrays of lists too, but of the types that it finds in them: a column that happens to be all NULL goes as text
of no type, a small number as a small integer, and each combination is prepared as a statement of its own. Here a column has one
type, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import ClassVar, Final

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

from kvcore_store_cockroach.translating import RefusedError

__all__ = ("Blobs", "Integers", "Texts", "adapters")

_HEAD: Final = Struct("!iiiii")  # dimensions, whether there are NULLs, type of the elements, their number, first index
_LENGTH: Final = Struct("!i")
_INTEGER: Final = Struct("!iq")
_NULL: Final = _LENGTH.pack(-1)


class _Array(bytes):
    """An array as it goes over the wire."""

    __slots__ = ()
    oid: ClassVar[int]
    element_oid: ClassVar[int]

    @classmethod
    def _head(cls, count: int) -> bytes:
        return _HEAD.pack(1, 1, cls.element_oid, count, 1)


class Texts(_Array):
    """An array of text."""

    __slots__ = ()
    oid = 1009
    element_oid = 25

    @classmethod
    def of(cls, items: Sequence[str]) -> Texts:
        """Make one.

        Raises:
            RefusedError: an item cannot be written as UTF-8.
        """
        try:
            return cls(cls._head(len(items)) + _joined([item.encode() for item in items]))
        except UnicodeEncodeError as error:
            raise RefusedError(f"it cannot be written as UTF-8 ({error})") from error


class Blobs(_Array):
    """An array of bytes, some of which may be NULL."""

    __slots__ = ()
    oid = 1001
    element_oid = 17

    @classmethod
    def of(cls, items: Sequence[bytes | None]) -> Blobs:
        """Make one."""
        return cls(cls._head(len(items)) + _joined(items))


class Integers(_Array):
    """An array of integers of 64 bits, some of which may be NULL."""

    __slots__ = ()
    oid = 1016
    element_oid = 20

    @classmethod
    def of(cls, items: Sequence[int | None]) -> Integers:
        """Make one."""
        images = [_NULL if item is None else _INTEGER.pack(8, item) for item in items]
        return cls(cls._head(len(items)) + b"".join(images))


def _joined(items: Iterable[bytes | None]) -> bytes:
    images: list[bytes] = []
    for item in items:
        if item is None:
            images.append(_NULL)
        else:
            images += (_LENGTH.pack(len(item)), item)
    return b"".join(images)


def adapters() -> AdaptersMap:
    """Return the driver's adapters, and those of the arrays."""
    known = AdaptersMap(psycopg.adapters)
    for array in (Texts, Blobs, Integers):
        known.register_dumper(array, type(f"{array.__name__}Dumper", (_AsItIs,), {"oid": array.oid}))
    return known


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj
