"""The doctor: what it says about tiers whose backends can look at their servers, and about those that cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from kvcore import doctor
from kvcore.backends import Diagnosis, Factory, Finding
from kvcore.config import Resolved, resolve
from kvcore.doctor import Examined, examine
from kvcore.errors import SettingsError, UnavailableError
from kvcore.hookspecs import hookimpl
from kvcore.plugins import Plugins, load_plugins
from tests.unit.core.fakes import FakeCache
from tests.unit.core.given_plugins import FakePlugin, FakeSettings

WELL = Finding(level="ok", about="server", what="all is well")
ENVIRONMENT = {"KVCORE_CACHE__BACKEND": "seen", "KVCORE_QUEUE__BACKEND": "fake", "KVCORE_STORE__BACKEND": "fake"}


class SeeingPlugin:
    """Gives a cache that looks at its servers, and finds what the test says."""

    def __init__(self, found: Diagnosis | Exception | None) -> None:
        self.found = found

    @hookimpl
    def kvcore_caches(self) -> Iterable[Factory[Any]]:
        async def diagnose(settings: Any) -> Diagnosis:
            assert isinstance(settings, FakeSettings)
            if self.found is None:
                await asyncio.Event().wait()
            if isinstance(self.found, Exception):
                raise self.found
            assert isinstance(self.found, Diagnosis)
            return self.found

        factory = FakePlugin().factory("seen", FakeCache)
        return [msgspec.structs.replace(factory, diagnose=diagnose)]


def prepared(found: Diagnosis | Exception | None, fake: FakePlugin | None = None) -> tuple[Resolved, Plugins]:
    """Return settings and plugins: the cache looks at its servers, queue and store do not."""
    plugins = load_plugins((), extra=[("fake", fake or FakePlugin()), ("seeing", SeeingPlugin(found))])
    return resolve(plugins, environment=ENVIRONMENT), plugins


async def examined(found: Diagnosis | Exception | None) -> dict[str, Examined]:
    """Return what is said about each tier, and about "here"."""
    return {part.tier or "here": part for part in await examine(*prepared(found))}


async def test_what_a_backend_finds_is_passed_on() -> None:
    """A backend that looks at its servers is asked with its settings; one that does not is opened and pinged."""
    parts = await examined(Diagnosis(findings=[WELL]))
    assert list(parts) == ["cache", "queue", "store"]
    assert (parts["cache"].backend, list(parts["cache"].findings)) == ("seen", [WELL])
    (pinged,) = parts["store"].findings
    assert (pinged.level, pinged.what) == ("ok", "a fake")


@pytest.mark.parametrize("error", [SettingsError("wrong url"), UnavailableError("away"), ZeroDivisionError("a bug")])
async def test_a_failing_look_is_a_finding(error: Exception) -> None:
    """Whatever goes wrong with one tier is an error of that tier, with a remedy, and the others are looked at."""
    parts = await examined(error)
    (finding,) = parts["cache"].findings
    assert finding.level == "error"
    assert str(error) in finding.evidence
    assert finding.remedy
    assert [finding.level for finding in parts["store"].findings] == ["ok"]


async def test_a_look_that_does_not_end_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that swallows everything does not keep the doctor for ever."""
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.01)
    (finding,) = (await examined(None))["cache"].findings
    assert (finding.level, finding.what) == ("error", "does not answer")


@pytest.mark.parametrize(
    ("ahead_ms", "level", "words"),
    [
        ({"a": 999, "b": -999}, "ok", "within 1000 ms of those of a, b"),
        ({"a": 1500, "b": 3}, "warning", "the clocks do not agree"),
        ({"a": -1500, "b": -1700}, "warning", "this machine's clock is wrong"),
        ({"a": 61_000, "b": 0}, "error", "clock skew"),
    ],
)
async def test_clocks_are_compared(ahead_ms: dict[str, int], level: str, words: str) -> None:
    """A second is worth a warning, the bound of the versions an error; when all servers disagree alike, it is this machine."""
    (clock,) = (await examined(Diagnosis(findings=[], ahead_ms=ahead_ms)))["here"].findings
    assert (clock.about, clock.level) == ("clock", level)
    assert words in clock.what
