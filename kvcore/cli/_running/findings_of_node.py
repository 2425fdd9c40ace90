"""What `kvctl doctor` says about one running node or worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvcore.backends import Finding
from kvcore.cli._running.looking import Look
from kvcore.cli._running.samples import Samples
from kvcore.client import Health
from kvcore.environment import TOKEN_VARIABLE
from kvcore.errors import AccessError, KvcoreError, UnavailableError, UnsupportedError

__all__ = ("findings_of_node",)

NOTABLE_LAG_S: Final = 10.0
NOTABLE_CLOCK_S: Final = 1.0


def findings_of_node(look: Look) -> list[Finding]:
    """Return what there is to say about a node or worker by itself."""
    if isinstance(look.is_ready, KvcoreError) and isinstance(look.health, KvcoreError):
        return [_unreachable(look.is_ready)]
    return [*_readiness(look), *_health(look), *_breakers(look), *_numbers(look), *_lag(look), *_not_looked_at(look)]


def _unreachable(error: KvcoreError) -> Finding:
    return Finding(
        level="error",
        about="address",
        what="no node answers here" if isinstance(error, UnavailableError) else "what answers here is no node",
        evidence=str(error),
        remedy="start it, or correct the address; a firewall or a proxy between may be the reason too",
    )


def _readiness(look: Look) -> Iterator[Finding]:
    if look.is_ready is False:
        yield Finding(
            level="warning",
            about="readiness",
            what="it takes no requests now",
            evidence="/health/ready answers 503: it is starting, or about to stop",
            remedy="wait for the start or end; if it stays so, its log tells what it waits for",
        )
    elif isinstance(look.is_ready, KvcoreError):
        yield Finding(
            level="error",
            about="readiness",
            what="/health/ready does not answer",
            evidence=str(look.is_ready),
            remedy="load balancers will not use this node: see its log",
        )


def _health(look: Look) -> Iterator[Finding]:
    health = look.health
    if isinstance(health, KvcoreError):
        return
    kind = "worker" if look.is_worker else "node"
    if health.status == "healthy":
        yield Finding(level="ok", about="health", what=f"{kind} {health.node}, kvcore {health.version}, is healthy")
        return
    down = [f"{tier} ({one.backend}): {one.detail}" for tier, one in health.components.items() if one.status != "up"]
    yield Finding(
        level="error" if health.status == "unhealthy" else "warning",
        about="health",
        what=f"the {kind} is {health.status}",
        evidence="; ".join(down) or "no tier is down now, but one was a moment ago",
        remedy="see to the servers of that tier: `kvctl doctor` with the settings of the node looks at them",
    )


def _breakers(look: Look) -> Iterator[Finding]:
    open_tiers: set[str] = set()
    if isinstance(look.health, Health):
        open_tiers |= {tier for tier, one in look.health.components.items() if one.breaker not in ("", "closed")}
    if isinstance(look.metrics, Samples):
        open_tiers |= {labels.get("tier", "") for labels, value in look.metrics.each("kvcore_breaker_open") if value}
    if open_tiers:
        tiers = ", ".join(sorted(open_tiers))
        yield Finding(
            level="warning",
            about="circuit breakers",
            what=f"not closed: {tiers}",
            evidence="/health and kvcore_breaker_open: its last calls to the tier failed or took too long",
            remedy="it closes by itself when the servers of the tier answer in time again",
        )


def _numbers(look: Look) -> Iterator[Finding]:
    if not isinstance(look.metrics, Samples):
        return
    ahead_s = look.metrics.largest("kvcore_clock_ahead_seconds") or 0.0
    if ahead_s >= NOTABLE_CLOCK_S:
        yield Finding(
            level="error" if ahead_s >= look.max_ahead_s else "warning",
            about="clock",
            what="versions run ahead of its clock",
            evidence=f"kvcore_clock_ahead_seconds is {ahead_s:.1f}: it has seen a version that far in its future",
            remedy="let NTP set the clocks of all machines; writes are refused beyond clock.max_ahead_s"
            f" ({look.max_ahead_s:g} s)",
        )
    oldest_s = look.metrics.largest("kvcore_lag_oldest_seconds") or 0.0
    if oldest_s >= NOTABLE_LAG_S:
        yield Finding(
            level="warning",
            about="lag",
            what="it has writes in hand that it cannot store",
            evidence=f"kvcore_lag_oldest_seconds is {oldest_s:.0f}",
            remedy="see to the store; nothing is lost, they are tried until it works",
        )


def _lag(look: Look) -> Iterator[Finding]:
    if isinstance(look.lag_s, float):
        what = f"a write takes {look.lag_s * 1000:,.1f} ms through the queue to the store"
        yield Finding(level="ok", about="lag", what=what)
    elif isinstance(look.lag_s, UnavailableError):
        yield Finding(
            level="error",
            about="lag",
            what="writes do not get through the queue to the store",
            evidence=str(look.lag_s),
            remedy="see that workers run (kvctl worker), and whether queue and store are up",
        )


def _not_looked_at(look: Look) -> Iterator[Finding]:
    """Say what was not shown. What a node does not have, such as a queue, or a worker's settings, is not missed."""
    parts: dict[str, object] = {"/health": look.health, "/metrics": look.metrics}
    if not look.is_worker:
        parts |= {"settings (/admin/config)": look.settings, "the queue (/admin/queue)": look.queue}
    for what, answer in parts.items():
        if not isinstance(answer, KvcoreError) or isinstance(answer, UnsupportedError):
            continue
        needs_token = isinstance(answer, AccessError)
        yield Finding(
            level="warning",
            about="not looked at",
            what=f"{what} could not be looked at",
            evidence=str(answer),
            remedy=f"give a token of scope admin with --token-file or {TOKEN_VARIABLE}"
            if needs_token
            else "see its log",
        )
