"""Conformance suites: what a backend must do, as tests that its own tests inherit.

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
"""

import pytest

# Else a failing assertion in an installed package would say nothing but "AssertionError".
pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("backend", "cache", "cache_model", "queue", "store", "store_model"))
)

from kvcore.testing.cache import CacheConformance  # noqa: E402 - after the registration, to be covered by it
from kvcore.testing.queue import QueueConformance  # noqa: E402 - after the registration, to be covered by it
from kvcore.testing.store import StoreConformance  # noqa: E402 - after the registration, to be covered by it
from kvcore.testing.waiting import eventually  # noqa: E402 - keeps the imports together

__all__ = ("CacheConformance", "QueueConformance", "StoreConformance", "eventually")
