"""The conformance suite of authenticators: what they must refuse, and what they must not tell."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from kvcore.access import Authenticator, Grant

__all__ = ("AuthenticatorConformance",)

_STRANGE = ("", " ", ".", "..", "...", "null", "Bearer", "\x00", "é", "\ud800", "a" * 8192, "a.b.c", "." * 8192, "{}")


class AuthenticatorConformance:
    """Opens the authenticator for each test.

    A subclass gives `opened`, and the fixtures `good`, tokens that are known with what they allow, and `bad`, tokens that
    are not, by what is wrong with them. Both are asked for before `opened` is called.
    """

    pytestmark = pytest.mark.anyio

    @pytest.fixture(scope="session")
    @staticmethod
    def anyio_backend() -> tuple[str, dict[str, object]]:
        """Run on asyncio with uvloop, as a node does."""
        return "asyncio", {"use_uvloop": True}

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[Authenticator]:
        """Open it."""

    @pytest.fixture
    async def authenticator(self, good: Mapping[str, Grant], bad: Mapping[str, str]) -> AsyncIterator[Authenticator]:
        """Give it, open."""
        async with self.opened() as authenticator:
            yield authenticator

    async def test_a_good_token_gets_its_grant_each_time(
        self, authenticator: Authenticator, good: Mapping[str, Grant]
    ) -> None:
        """What a token allows is told the first time, the second time, and to many at once."""
        assert good
        for token, grant in good.items():
            assert await authenticator.authenticate(token) == grant
            assert await asyncio.gather(*(authenticator.authenticate(token) for _ in range(50))) == [grant] * 50

    async def test_a_bad_token_is_refused(self, authenticator: Authenticator, bad: Mapping[str, str]) -> None:
        """Each of them gets None, also when it is sent again."""
        assert bad
        for _ in range(2):
            assert {why: await authenticator.authenticate(token) for why, token in bad.items()} == dict.fromkeys(bad)

    async def test_any_text_can_be_sent(self, authenticator: Authenticator) -> None:
        """No token at all, and texts of every kind, get None and no exception."""
        found = {text: await authenticator.authenticate(text) for text in _STRANGE}
        assert found == dict.fromkeys(_STRANGE)

    async def test_a_token_that_is_almost_right_is_refused(
        self, authenticator: Authenticator, good: Mapping[str, Grant]
    ) -> None:
        """A single character that is changed, missing or too many makes it another token, after a good one was seen too."""
        for token in good:
            await authenticator.authenticate(token)
            changed = [_changed(token, place) for place in range(len(token))]
            for almost in (*changed, token[:-1], token[1:], token + "=", token + "A", " " + token, token + "\n"):
                assert await authenticator.authenticate(almost) is None

    async def test_nothing_tells_a_token(
        self,
        authenticator: Authenticator,
        good: Mapping[str, Grant],
        bad: Mapping[str, str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No token, and no long part of one, is logged or stands in a grant."""
        caplog.set_level(logging.DEBUG)
        told = [repr(await authenticator.authenticate(token)) for token in (*good, *bad.values())]
        written = caplog.text + "".join(told) + repr(authenticator)
        for token in good:
            assert not any(token[place : place + 12] in written for place in range(len(token) - 11))

    async def test_opens_again_after_closing(self, good: Mapping[str, Grant]) -> None:
        """Closing leaves nothing behind, and what was known is known again."""
        for _ in range(2):
            async with self.opened() as authenticator:
                for token, grant in good.items():
                    assert await authenticator.authenticate(token) == grant


def _changed(token: str, place: int) -> str:
    return token[:place] + ("B" if token[place] != "B" else "C") + token[place + 1 :]
