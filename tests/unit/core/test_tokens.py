"""kvcore's own tokens: which are known, and what a file of them does when it changes."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from kvcore.access import Authenticator, Grant
from kvcore.errors import SettingsError
from kvcore.secret import Secret, as_secret
from kvcore.testing import AuthenticatorConformance
from kvcore.tokens import Token, Tokens, digest_of, new_token, parse_tokens

NOW = 1_800_000_000.0


def kept(name: str, text: str, *scopes: str, expires: float | None = None, prefixes: tuple[str, ...] = ("",)) -> Token:
    """Return what is kept of a token."""
    ends = None if expires is None else datetime.fromtimestamp(expires, UTC)
    return Token(
        name=name,
        sha256=Secret(digest_of(text).hex()),
        scopes=scopes or ("read",),  # type: ignore[arg-type]  # texts of tests are str to mypy
        prefixes=prefixes,
        expires=ends,
    )


def table(name: str, text: str) -> str:
    """Return what a file says of a token."""
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest_of(text).hex()}"\nscopes = ["read"]\n'


class Ticks:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestTokens(AuthenticatorConformance):
    """Tokens of the configuration and of a file are as good as those of any authenticator."""

    @pytest.fixture
    def good(self, tmp_path: Path) -> dict[str, Grant]:
        """Give one of each."""
        configured, filed = new_token(), new_token()
        self.file = tmp_path / "tokens.toml"
        self.file.write_text(table("filed", filed), encoding="utf-8")
        self.configured = (
            kept("configured", configured, "read", "write", expires=NOW + 1, prefixes=("a/", "b/")),
            kept("over", "kvc_over", expires=NOW),
        )
        return {
            configured: Grant("configured", frozenset(("read", "write")), ("a/", "b/")),
            filed: Grant("filed", frozenset(("read",))),
        }

    @pytest.fixture
    def bad(self) -> dict[str, str]:
        """Give what is like them, and is none."""
        return {"unknown": new_token(), "expired": "kvc_over", "digest": digest_of("kvc_over").hex()}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Authenticator]:
        """Open both."""
        yield Tokens(self.configured, str(self.file), clock=lambda: NOW)


async def test_a_token_ends_at_its_time() -> None:
    """Up to the moment of `expires` it is known, and from then on not."""
    clock = Ticks()
    tokens = Tokens([kept("one", "kvc_one", expires=NOW)], clock=clock)
    clock.now = NOW - 0.001
    assert await tokens.authenticate("kvc_one")
    clock.now = NOW
    assert await tokens.authenticate("kvc_one") is None


def test_new_tokens_are_recognised_and_all_different() -> None:
    """A token begins with kvc_ and carries 256 random bits."""
    made = {new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert {(token[:4], len(token)) for token in made} == {("kvc_", 47)}


class TestFile:
    """A file of tokens that changes while it is in use."""

    @pytest.fixture(autouse=True)
    def _written(self, tmp_path: Path) -> None:
        self.file = tmp_path / "tokens.toml"
        self.file.write_text(table("old", "kvc_old"), encoding="utf-8")
        self.ticks = Ticks()
        self.failures = 0
        self.tokens = Tokens([kept("own", "kvc_own")], str(self.file), failed=self._fail, ticks=self.ticks)

    def _fail(self) -> None:
        self.failures += 1

    async def known(self, *, after_s: float = 1.0) -> set[str]:
        """Return which tokens are known some time later."""
        self.ticks.now += after_s
        return {text for text in ("kvc_own", "kvc_old", "kvc_new") if await self.tokens.authenticate(text)}

    async def test_a_token_that_is_added_is_known(self) -> None:
        """No restart is needed."""
        self.file.write_text(table("old", "kvc_old") + table("new", "kvc_new"), encoding="utf-8")
        assert await self.known() == {"kvc_own", "kvc_old", "kvc_new"}

    async def test_a_token_that_is_removed_is_refused(self) -> None:
        """The last one of the file can go too: those of the configuration stay."""
        self.file.write_text("", encoding="utf-8")
        assert await self.known() == {"kvc_own"}

    async def test_the_file_is_looked_at_no_more_than_once_a_second(self) -> None:
        """What has changed is seen a second after the last look, and not at once."""
        self.file.write_text(table("new", "kvc_new"), encoding="utf-8")
        assert await self.known(after_s=0.999) == {"kvc_own", "kvc_old"}
        assert await self.known(after_s=0.001) == {"kvc_own", "kvc_new"}

    async def test_a_file_of_the_same_size_and_time_is_seen(self) -> None:
        """A file that is renamed to the name is another one, whatever its time says."""
        before = self.file.stat()
        other = self.file.with_name("other")
        other.write_text(table("new", "kvc_new"), encoding="utf-8")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(self.file)
        assert self.file.stat().st_size == before.st_size
        assert await self.known() == {"kvc_own", "kvc_new"}

    @pytest.mark.parametrize(
        "harm",
        [
            lambda file: file.unlink(),
            lambda file: file.write_text("[[tokens]"),
            lambda file: file.write_text("a = " + "9" * 5000),
            lambda file: file.write_bytes(b"\xff"),
            lambda file: file.write_text('[[tokens]]\nname = "new"\nsha256 = "kvc_new"\nscopes = ["read"]\n'),
            lambda file: file.write_text(table("new", "kvc_new") * 2),
            lambda file: file.write_text(table("own", "kvc_new")),
            lambda file: file.write_text(table("new", "kvc_own")),
            lambda file: file.write_text("tokens = 1"),
            lambda file: file.write_text('other = "kvc_new"'),
        ],
        ids=[
            "gone",
            "no TOML",
            "no number",
            "no text",
            "no digest",
            "twice",
            "own name",
            "own digest",
            "no list",
            "other name",
        ],
    )
    async def test_a_broken_file_changes_nothing(
        self, harm: Callable[[Path], object], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The tokens that it listed stay, one line in the log and the count tell of it, once, and mending it is enough."""
        harm(self.file)
        for _ in range(3):
            assert await self.known() == {"kvc_own", "kvc_old"}
        assert self.failures == 1
        (record,) = caplog.records
        assert str(self.file) in record.message or "auth: " in record.message
        assert "kvc_" not in record.message
        caplog.set_level(logging.INFO)
        self.file.write_text(table("new", "kvc_new"), encoding="utf-8")
        assert await self.known() == {"kvc_own", "kvc_new"}
        assert self.failures == 1


def test_a_file_that_cannot_be_read_at_the_start_is_refused(tmp_path: Path) -> None:
    """A node does not start with fewer tokens than it should have."""
    with pytest.raises(SettingsError, match="nowhere"):
        Tokens([kept("own", "kvc_own")], str(tmp_path / "nowhere"))


def test_no_token_at_all_is_refused(tmp_path: Path) -> None:
    """A node that asks for tokens, of which there are none, could serve nobody."""
    empty = tmp_path / "tokens.toml"
    empty.touch()
    for file in (None, str(empty)):
        with pytest.raises(SettingsError, match="kvctl token create"):
            Tokens([], file)


@pytest.mark.parametrize("changed", [{"name": "one"}, {"sha256": digest_of("kvc_one").hex()}])
def test_two_tokens_of_one_name_or_one_digest_are_refused(changed: dict[str, str]) -> None:
    """A name says whose token is revoked; a token allows one thing."""
    other = {"name": "two", "sha256": digest_of("kvc_two").hex(), "scopes": ["read"]} | changed
    with pytest.raises(SettingsError, match=r"there are two|there twice"):
        Tokens([kept("one", "kvc_one"), msgspec.convert(other, Token, dec_hook=as_secret)])


@pytest.mark.parametrize(
    "line",
    [
        'name = ""',
        'name = "a b"',
        'name = "-"',
        'sha256 = "kvc_pasted_by_mistake"',
        "scopes = []",
        'scopes = ["all"]',
        "prefixes = []",
        "expires = 2030-01-01T00:00:00",
        "expires = 2030-01-01",
        'other = "x"',
    ],
)
def test_a_token_of_another_form_is_refused(line: str) -> None:
    """A name that logs can show, a whole digest, a scope, a prefix, and a time with its zone: nothing else is guessed."""
    lines = {"name": 'name = "one"', "sha256": f'sha256 = "{"0" * 64}"', "scopes": 'scopes = ["read"]'}
    name = line.partition(" ")[0]
    text = "\n".join(["[[tokens]]", *(lines | {name: line}).values()])
    with pytest.raises(SettingsError, match=r"tokens\.toml") as refusal:
        parse_tokens(text.encode(), "tokens.toml")
    assert "kvc_pasted" not in str(refusal.value)
