"""What msgspec does not refuse in JSON: deep nesting, a member given twice, an integer beyond a double.

All of it is done by a few passes in C over the whole body: Python code for each bracket, member or number of 1 MiB would
keep every other request waiting for a quarter of a second.
"""

from __future__ import annotations

import gc
import math
import operator
import re
from collections.abc import Iterable
from itertools import accumulate, count
from typing import Final

import msgspec

from kvcore.http.problems import InvalidRequestError

__all__ = ("check_content", "check_depth")

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENS: Final = bytes.maketrans(b"[]{}", b"1010")
_ESCAPED_COLON: Final = re.compile(rb"\\u003[aA]")
_MANY: Final = 4096
"""Bytes of a body that may hold so many objects that they start the garbage collection."""
_LONG: Final = 309
"""Digits of the smallest integer that may be beyond a double."""
_LONG_RUN: Final = b"0" * _LONG
_DIGITS: Final = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))


def _steps(byte: int) -> list[int]:
    """Return the depth after each of eight brackets, the bits of a byte from the left: 1 opens, 0 closes."""
    return list(accumulate(1 if byte >> bit & 1 else -1 for bit in range(7, -1, -1)))


_ENDS: Final = bytes(8 + _steps(byte)[-1] for byte in range(256))  # 8 more, since bytes are not negative
_PEAKS: Final = bytes(max(0, *_steps(byte)) for byte in range(256))


def check_depth(body: bytes, levels: int) -> None:
    """Return if brackets are nested at most so deep. To be asked before the body is decoded, which is recursive.

    Raises:
        InvalidRequestError: they are deeper.
    """
    if body.count(b"[") + body.count(b"{") > levels and _depth(body) > levels:
        raise InvalidRequestError(f"the body has more than {levels} levels", problem="invalid-json")


def check_content(body: bytes) -> None:
    """Return if no object of a valid document has a member twice, and no number is beyond the range of a double.

    Members: msgspec keeps the last one of equals, so what it decodes and encodes again has fewer colons then. They are
    the only bytes outside of strings that are neither added nor left out by that.

    Raises:
        InvalidRequestError: it is otherwise, or is not valid after all.
    """
    try:
        encoded = _again(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", problem="invalid-json") from None
    if _colons(body) != encoded.count(b":"):
        raise InvalidRequestError("a member of an object is given twice", problem="invalid-json")
    if len(encoded) >= _LONG and _LONG_RUN in encoded.translate(_DIGITS) and _has_large_integer(encoded):
        raise InvalidRequestError("a number is beyond the range of a double", problem="invalid-json")


def _again(body: bytes) -> bytes:
    """Decode and encode."""
    if len(body) < _MANY or not gc.isenabled():
        return _encode(_decode(body))
    gc.disable()  # it would look through a million new objects many times, and none of them is garbage
    try:
        return _encode(_decode(body))
    finally:
        gc.enable()


def _depth(body: bytes) -> int:
    """Return how deep brackets are nested, at most: those that open are bits that are set, looked up eight at a time."""
    bits = _without_strings(body).translate(_OPENS, _NOT_BRACKETS)
    bits += b"0" * (-len(bits) % 8)
    if not bits:
        return 0
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    before = map(operator.sub, accumulate(packed.translate(_ENDS), initial=0), count(0, 8))
    depths: Iterable[int] = map(operator.add, before, packed.translate(_PEAKS))
    return max(depths)


def _without_strings(body: bytes) -> bytes:
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(body.split(b'"')[::2])


def _colons(body: bytes) -> int:
    """Count the colons that there are when none is escaped, as msgspec escapes none."""
    if rb"\u003" not in body:
        return body.count(b":")
    plain = body.replace(rb"\\", b"")
    return plain.count(b":") + len(_ESCAPED_COLON.findall(plain))


def _has_large_integer(encoded: bytes) -> bool:
    """Tell whether there is one in what msgspec has encoded: it writes no float with that many digits."""
    numbers = re.split(rb"[^0-9]+", _without_strings(encoded))
    return any(math.isinf(float(number)) for number in numbers if len(number) >= _LONG)
