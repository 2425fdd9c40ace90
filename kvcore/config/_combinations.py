"""What no type can say of settings: that networks are some, and that settings go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from operator import attrgetter

from kvcore.backends import Ability
from kvcore.config._resolved import Resolved
from kvcore.errors import SettingsError
from kvcore.plugins import Plugins
from kvcore.settings import NO_QUEUE, Settings

__all__ = ("refuse_combinations", "refuse_wrong_networks")

Clash = tuple[str, tuple[str, ...]]
"""Why settings do not go together, and the paths of them."""


def refuse_wrong_networks(resolved: Resolved) -> None:
    """Return if proxies are given by addresses and networks.

    Raises:
        SettingsError: with the source of what is none.
    """
    for text in resolved.settings.http.trusted_proxies:
        try:
            ip_network(text)
        except ValueError as error:
            source = resolved.sources.get("http.trusted_proxies", "default")
            raise SettingsError(f"http.trusted_proxies: {error}; give addresses and networks (from {source})") from None


def refuse_combinations(plugins: Plugins, resolved: Resolved) -> None:
    """Return if nothing speaks against settings that are right, each by itself.

    Raises:
        SettingsError: with all settings that do not go together, where each comes from, and why.
    """
    clashes = [*_clashes_of_backends(plugins, resolved.settings), *_clashes_of_values(resolved.settings)]
    if clashes:
        told = "; and ".join(f"{_named(resolved, paths)}: {why}" for why, paths in clashes)
        raise SettingsError(f"these settings do not go together: {told}")


def _named(resolved: Resolved, paths: Iterable[str]) -> str:
    """Return settings with their values and where these come from."""
    return ", ".join(
        f"{path} = {attrgetter(path)(resolved.settings)!r} ({resolved.sources.get(path, 'default')})" for path in paths
    )


def _clashes_of_backends(plugins: Plugins, settings: Settings) -> Iterator[Clash]:
    cache = plugins.choose("cache", settings.cache.backend).abilities
    store = plugins.choose("store", settings.store.backend).abilities
    if Ability.SHARED in store and Ability.SHARED not in cache:
        yield (
            "several nodes can use this store, and each would have a cache of its own that misses the others' writes",
            ("cache.backend", "store.backend"),
        )
    shared = cache & store
    if settings.queue.backend != NO_QUEUE:
        queue = plugins.choose("queue", settings.queue.backend).abilities
        shared &= queue
        if Ability.DURABLE in queue and Ability.DURABLE not in store:
            yield (
                "the queue keeps what it accepted only until the store has it, and this store forgets",
                ("queue.backend", "store.backend"),
            )
        if not settings.worker.in_node and Ability.SHARED not in shared:
            yield (
                "a worker in another process would not see the same data; the node must run the worker itself",
                ("queue.backend", "cache.backend", "store.backend", "worker.in_node"),
            )
    elif settings.worker.in_node:
        yield "without a queue there is nothing for a worker to do", ("queue.backend", "worker.in_node")
    if settings.http.processes > 1 and Ability.SHARED not in shared:
        yield (
            "each process would have data of its own",
            ("http.processes", "cache.backend", "queue.backend", "store.backend"),
        )


def _clashes_of_values(settings: Settings) -> Iterator[Clash]:
    limits = settings.limits
    for caller in ("token", "address"):
        rate, burst = f"{caller}_rate_per_s", f"{caller}_burst"
        if getattr(limits, rate) is None and getattr(limits, burst) is not None:
            why = "without a rate any number of requests may come, at once and later"
            yield why, (f"limits.{burst}", f"limits.{rate}")
    if settings.store.tombstone_retention_s < settings.cache.pending_ttl_s:
        yield (
            "deletes must be remembered for as long as an accepted entry may wait in the cache",
            ("store.tombstone_retention_s", "cache.pending_ttl_s"),
        )
