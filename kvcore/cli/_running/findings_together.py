"""What `kvctl doctor` says about running nodes and workers together: what must agree, and what they share."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kvcore.backends import Finding
from kvcore.cli._running.looking import DATE_PRECISION_MS, Look
from kvcore.cli._running.samples import Samples
from kvcore.client import Channel, Health, Plugins, QueueStats
from kvcore.doctor import clock_findings

__all__ = ("findings_together",)

_KINDS: Final = ("cache", "queue", "store")
_MUST_AGREE: Final = re.compile(
    r"limits\.(max_key_bytes|max_value_bytes|batch_operations|batch_bytes)"
    r"|cache\.(\w+_)?ttl_s|store\.tombstone_retention_s|clock\.max_ahead_s|auth\.mode"
)
"""Else the answer to a request depends on who is asked, or one forgets what another still counts on."""
_WHERE_DATA_ARE: Final = re.compile(
    r"(cache|queue|store)\.(backend"
    r"|\w+\.(?!hosts?$|urls?$|path$|sentinels$|tls$|heartbeat_s$|\w*(username|password|connections|timeout_s|_file)$)\w+)"
)
"""Else they may not share data. Of a backend's own settings that is all but how this machine gets there, and how busily."""


def findings_together(looks: Sequence[Look]) -> list[Finding]:
    """Return what there is to say about all of them together."""
    return [
        *_versions(looks),
        *_settings(looks),
        *_sharing(looks),
        *_caches(looks),
        *_workers(looks),
        *_dead_letters(looks),
        *_clocks(looks),
    ]


def _versions(looks: Sequence[Look]) -> Iterator[Finding]:
    by_version = _grouped({look.url: look.health.version for look in looks if isinstance(look.health, Health)})
    if len(by_version) > 1:
        yield Finding(
            level="warning",
            about="versions",
            what="not all run the same version of kvcore",
            evidence=_told(by_version),
            remedy="finish the update: restart those of the older version with the newer one",
        )


def _settings(looks: Sequence[Look]) -> Iterator[Finding]:
    told = {look.url: look.settings for look in looks if isinstance(look.settings, list)}
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for url, settings in told.items():
        for one in settings:
            values[one.setting][url] = json.dumps(one.value)
    for setting, by_url in values.items():
        moves_data = bool(_WHERE_DATA_ARE.fullmatch(setting))
        must_agree = moves_data or _MUST_AGREE.fullmatch(setting)
        by_value = _grouped(by_url)
        if must_agree and len(by_url) == len(told) and len(by_value) > 1:
            yield Finding(
                level="error" if moves_data else "warning",
                about=f"setting {setting}",
                what="nodes that belong together have different values",
                evidence=_told(by_value),
                remedy="give all of them the same (`kvctl config show` tells where a value comes from), and restart them",
            )


def _sharing(looks: Sequence[Look]) -> Iterator[Finding]:
    """Find nodes that have data each of its own, since the backends live inside one process or on one machine."""
    alone: dict[str, list[str]] = defaultdict(list)
    for look in looks:
        if isinstance(look.plugins, Plugins):
            shared = {
                (backend.kind, backend.name)
                for plugin in look.plugins.loaded
                for backend in plugin.backends
                if "shared" in backend.abilities
            }
            for kind in _KINDS:
                name = look.value_of(f"{kind}.backend")
                if name not in (None, "none") and (kind, name) not in shared:
                    alone[f"{kind} {name}"].append(look.url)
    several = {f"{backend} is of one process alone": urls for backend, urls in alone.items() if len(urls) > 1}
    if several:
        yield Finding(
            level="error",
            about="backends",
            what="these nodes do not share their data",
            evidence=_told(several),
            remedy="run one node, or choose backends with the ability `shared` (kvctl plugins): the profile production has them",
        )


def _caches(looks: Sequence[Look]) -> Iterator[Finding]:
    """Find nodes that have different servers for their cache: one would not see what another has written."""
    servers = {
        look.url: cache.server
        for look in looks
        if isinstance(look.health, Health) and (cache := look.health.components.get("cache")) and cache.status == "up"
    }
    by_server = _grouped(servers)
    if len(by_server) > 1:
        yield Finding(
            level="error",
            about="cache",
            what="not all have the same server for their cache, so some answer with what is out of date",
            evidence=_told(by_server),
            remedy="give all the same addresses of the cache; after a failover look again in a moment",
        )


def _workers(looks: Sequence[Look]) -> Iterator[Finding]:
    writes = {url: queue.channels.get("writes", Channel()) for url, queue in _queues(looks).items()}
    consumers = [channel.consumers for channel in writes.values() if channel.consumers is not None]
    waiting = _told(_grouped({url: f"{channel.waiting} messages wait" for url, channel in writes.items()}))
    drain = [look.url for look in looks if _drains(look)]
    if consumers and not min(consumers):
        yield Finding(
            level="error",
            about="workers",
            what="nobody drains the queue",
            evidence=f"no consumer on the channel writes; {waiting}",
            remedy="start workers (kvctl worker); until then writes are kept in the queue, and nothing is lost",
        )
    elif consumers and max(consumers) < len(drain):
        yield Finding(
            level="warning",
            about="workers",
            what="not all workers drain this queue",
            evidence=f"{max(consumers)} consumers on the channel writes, and {len(drain)} workers: {', '.join(drain)}",
            remedy="see whether those workers reach the queue (their /health), and have the same settings of it",
        )
    elif not consumers and not drain and _have_queue(looks):
        yield Finding(
            level="warning",
            about="workers",
            what="there is a queue, and no worker was looked at",
            evidence="no address that was given is one of a worker, and the queue does not tell how many drain it",
            remedy="give the addresses of the workers too, with --url",
        )


def _dead_letters(looks: Sequence[Look]) -> Iterator[Finding]:
    kept = {url: queue.dead_letters for url, queue in _queues(looks).items() if queue.dead_letters}
    if kept:
        yield Finding(
            level="warning",
            about="dead letters",
            what="the store has rejected writes, which wait for somebody to decide",
            evidence=_told(_grouped({url: f"{count} dead letters" for url, count in kept.items()})),
            remedy="`kvctl dead-letters list` tells why; then replay or discard them",
        )


def _clocks(looks: Sequence[Look]) -> list[Finding]:
    ahead_ms = {look.url: look.ahead_ms for look in looks if look.ahead_ms is not None}
    bound_ms = int(min(look.max_ahead_s for look in looks) * 1000)
    return clock_findings(ahead_ms, bound_ms, notable_ms=DATE_PRECISION_MS)


def _drains(look: Look) -> bool:
    """Tell whether this is a worker, or a node with one inside, by its settings or by what only workers see."""
    sees_queue = isinstance(look.metrics, Samples) and look.metrics.total("kvcore_queue_consumers") is not None
    return look.is_worker or sees_queue or bool(look.value_of("worker.in_node"))


def _queues(looks: Sequence[Look]) -> dict[str, QueueStats]:
    return {look.url: look.queue for look in looks if isinstance(look.queue, QueueStats)}


def _have_queue(looks: Sequence[Look]) -> bool:
    return any(isinstance(look.health, Health) and "queue" in look.health.components for look in looks)


def _grouped(by_url: Mapping[str, str]) -> dict[str, list[str]]:
    """Return who has each value."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for url, value in by_url.items():
        grouped[value].append(url)
    return grouped


def _told(grouped: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{value}: {', '.join(urls)}" for value, urls in grouped.items())
