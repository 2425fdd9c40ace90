"""What the three suites share: opening, and the promises that do not depend on the kind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

import msgspec
import pytest

from kvcore.backends import Ability, Factory, Pooled, PoolStats, pool_of
from kvcore.errors import SettingsError, UnavailableError, UnsupportedError

__all__ = ("BackendConformance",)


class BackendConformance:
    """Opens the backend for each test. `patience_s`: after this time, what has not come is taken for lost."""

    pytestmark = pytest.mark.anyio

    factory: ClassVar[Factory[Any]]
    patience_s: ClassVar[float] = 10.0

    @pytest.fixture(scope="session")
    @staticmethod
    def anyio_backend() -> tuple[str, dict[str, object]]:
        """Run on asyncio with uvloop, as a node does."""
        return "asyncio", {"use_uvloop": True}

    @pytest.fixture
    def settings(self) -> msgspec.Struct:
        """Return the settings to open with; opening with them again must lead to the same data, where there is such."""
        return self.factory.settings()

    @pytest.fixture
    def prefix(self) -> str:
        """Return what all keys of this test begin with."""
        return f"test-{secrets.token_hex(6)}/"

    @asynccontextmanager
    async def opened_twice(self, settings: msgspec.Struct) -> AsyncIterator[tuple[Any, Any]]:
        """Open two instances at once; the second is None where that is refused, as a backend that is not shared may."""
        async with self.factory.open(settings) as first, AsyncExitStack() as stack:
            try:
                second = await stack.enter_async_context(self.factory.open(settings))
            except (SettingsError, UnavailableError) as refusal:
                if Ability.SHARED in self.factory.abilities:
                    pytest.fail(f"declared SHARED, yet refused to open twice: {refusal}")
                second = None
            yield first, second

    def test_the_settings_are_strict_and_frozen(self) -> None:
        """Settings are a frozen Struct of keywords that refuses unknown names."""
        config = self.factory.settings.__struct_config__
        assert config.frozen
        assert config.forbid_unknown_fields

    def test_every_setting_is_described(self) -> None:
        """Each setting has a description, which the documentation and `kvctl` show."""
        schema = msgspec.json.schema(self.factory.settings, schema_hook=lambda _: {"type": "string"})
        (definition,) = [one for one in schema["$defs"].values() if one["title"] == self.factory.settings.__name__]
        missing = [name for name, field in definition["properties"].items() if not field.get("description")]
        assert missing == []

    async def test_the_open_backend_has_the_abilities_of_its_factory(self, settings: msgspec.Struct) -> None:
        """What a backend can do is known before it is opened."""
        async with self.factory.open(settings) as backend:
            assert isinstance(backend.abilities, frozenset)
            assert backend.abilities == self.factory.abilities
            assert backend.abilities <= set(Ability)

    async def test_tells_of_its_connections_if_declared(self, settings: msgspec.Struct) -> None:
        """A backend with the ability tells, at any time, how many connections it has; one without is refused."""
        async with self.factory.open(settings) as backend:
            if Ability.POOL not in self.factory.abilities:
                with pytest.raises(UnsupportedError):
                    pool_of(backend)
                return
            pooled = pool_of(backend)
            await backend.ping()
            for stats in [pooled.pool(), *await _looked_at_meanwhile(pooled, (backend.ping() for _ in range(100)))]:
                assert isinstance(stats, PoolStats)
                assert 0 <= stats.in_use <= stats.open
                assert stats.open >= 1
                assert stats.limit is None or stats.in_use <= stats.limit
                assert stats.retries >= 0
        assert pooled.pool().open == 0

    async def test_answers_a_ping(self, settings: msgspec.Struct) -> None:
        """A ping returns, with the name of what serves, when the backend can serve."""
        async with self.factory.open(settings) as backend:
            served_by = await backend.ping()
            assert isinstance(served_by, str)
            assert served_by

    async def test_opens_again_after_closing(self, settings: msgspec.Struct) -> None:
        """Closing leaves nothing behind that is in the way of the next opening."""
        for _ in range(3):
            async with self.factory.open(settings) as backend:
                await backend.ping()

    async def test_closes_under_an_exception_and_lets_it_pass(self, settings: msgspec.Struct) -> None:
        """An exception of those who use the backend passes through its closing unchanged."""
        with pytest.raises(ZeroDivisionError, match="of the user"):
            async with self.factory.open(settings):
                raise ZeroDivisionError("of the user")
        async with self.factory.open(settings) as backend:
            await backend.ping()

    async def test_closes_when_cancelled(self, settings: msgspec.Struct) -> None:
        """A node that is cancelled closes its backends, which can then be opened again."""
        opened = asyncio.Event()

        async def node() -> None:
            async with self.factory.open(settings):
                opened.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(node())
        async with asyncio.timeout(self.patience_s):
            await opened.wait()
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        async with self.factory.open(settings) as backend:
            await backend.ping()


async def _looked_at_meanwhile(pooled: Pooled, calls: Iterable[Coroutine[Any, Any, Any]]) -> list[PoolStats]:
    """Make calls all at once, and return what is told of the connections meanwhile and afterwards."""
    calling = asyncio.gather(*calls)
    seen = []
    while not calling.done():
        seen.append(pooled.pool())
        await asyncio.sleep(0)
    await calling
    return [*seen, pooled.pool()]
