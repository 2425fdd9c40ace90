"""A text that must not be seen: a password, a key."""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ("HIDDEN", "Secret", "as_secret")

HIDDEN: Final = "******"


class Secret:
    """Wraps a text so that it appears in no log, traceback or listing; `reveal` gives it to the driver that needs it.

    A setting of this type, `password` say, can also be read from a file: `password_file` names it. Both come with the
    type, no plugin does anything for it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not written down")


def as_secret(type_: type, value: Any) -> Any:
    """Make a secret of a text: the `dec_hook` for msgspec, which does not know the type."""
    if type_ is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise msgspec.ValidationError("Expected `str`")
