"""What msgspec does not refuse in JSON: deep nesting, a member given twice, an integer beyond a double.

What can be is done by a few passes in C over the whole body: Python code for each member and number of 1 MiB, or a
regular expression that finds its strings, would keep every other request waiting for a quarter of a second.
"""

from __future__ import annotations

import gc
import math
import re
from typing import Final

import msgspec

from kvcore.http.problems import InvalidRequestError

__all__ = ("check_content", "check_depth")

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED_COLON: Final = re.compile(rb"\\u003[aA]")
_MANY: Final = 4096
"""Bytes of a body that may hold so many objects that they start the garbage collection."""
_LONG: Final = 309
"""Digits of the smallest integer that may be beyond a double."""
_LONG_RUN: Final = b"0" * _LONG
_DIGITS: Final = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))


def check_depth(body: bytes, levels: int) -> None:
    """Return if brackets are nested at most so deep. To be asked before the body is decoded, which is recursive.

    Raises:
        InvalidRequestError: they are deeper.
    """
    if body.count(b"[") + body.count(b"{") <= levels:
        return
    depth = 0
    for bracket in _without_strings(body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > levels:
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
