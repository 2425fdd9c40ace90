"""Conformance suites: what a backend, or an authenticator, must do, as tests that its own tests inherit.

A subclass says how to open the backend; what the backend declares in `abilities` is tested, and what it does not
declare is
asserted to be refused or absent::

    from typing import ClassVar

    import pytest
    from kvcore.backends import Factory, Store
    from kvcore.testing import StoreConformance
    from my_plugin import FACTORY, MySettings


    class TestMyStore(StoreConformance):
        factory: ClassVar[Factory[Store]] = FACTORY

        @pytest.fixture
        def settings(self, tmp_path):
            return MySettings(path=str(tmp_path / "kv"))

`settings` must lead to a place that nothing else uses while the test runs; stores and caches may find there what
earlier tests left behind, a queue must be empty. Without the fixture the settings' defaults are taken. The suites need
the extra `kvcore[testing]`, and no configuration.

For a backend that needs a server, `kvcore.testing.fixtures` is a plugin of pytest with the fixtures `redis_servers`,
`rabbitmq_cluster` and `database`, which start real ones (`kvcore.testing.servers`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcore.testing.access import AuthenticatorConformance
    from kvcore.testing.cache import CacheConformance
    from kvcore.testing.queue import QueueConformance
    from kvcore.testing.store import StoreConformance
    from kvcore.testing.waiting import eventually

__all__ = ("AuthenticatorConformance", "CacheConformance", "QueueConformance", "StoreConformance", "eventually")

_MODULES = {
    "AuthenticatorConformance": "access",
    "CacheConformance": "cache",
    "QueueConformance": "queue",
    "StoreConformance": "store",
    "eventually": "waiting",
}


def __getattr__(name: str) -> object:
    """Import a suite at its first use, since what only starts servers has no need of pytest."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415 - as the docstring says

    # Else a failing assertion in an installed package would say nothing but "AssertionError".
    parts = ("expiry", "idempotency", "listing", "model", "opening")
    suites = ("access", "backend", "cache", "cache_model", "queue", "store", *(f"store_{part}" for part in parts))
    pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in suites))
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
