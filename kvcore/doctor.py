"""Looking at every tier's servers, and saying what is wrong with them, how that is known, and what to do.

A backend knows its servers, and looks at them itself (`Factory.diagnose`). What is said here is what needs no knowledge
of them: whether each backend can serve, whether the clocks agree, and which plugins are broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kvcore.backends import Diagnosis, Finding, Kind
from kvcore.config import Resolved
from kvcore.errors import KvcoreError
from kvcore.plugins import Plugins

__all__ = ("Examined", "clock_findings", "examine")

PATIENCE_S: Final = 20.0
NOTABLE_SKEW_MS: Final = 1000


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one tier, or, with tier None, about this machine and its plugins."""

    tier: Kind | None
    backend: str
    findings: Sequence[Finding]


async def examine(resolved: Resolved, plugins: Plugins) -> list[Examined]:
    """Look at all tiers at once. Never raises for what is found."""
    settings = resolved.settings
    kinds = list(resolved.backends)
    names = [str(getattr(settings, kind).backend) for kind in kinds]
    diagnoses = await asyncio.gather(*(_examine_tier(resolved, plugins, kind) for kind in kinds))
    examined = [
        Examined(tier=kind, backend=name, findings=diagnosis.findings)
        for kind, name, diagnosis in zip(kinds, names, diagnoses, strict=True)
    ]
    ahead_ms = {name: ms for diagnosis in diagnoses for name, ms in diagnosis.ahead_ms.items()}
    here = [*clock_findings(ahead_ms, int(settings.clock.max_ahead_s * 1000)), *_plugins(plugins)]
    return [*examined, Examined(tier=None, backend="", findings=here)] if here else examined


async def _examine_tier(resolved: Resolved, plugins: Plugins, kind: Kind) -> Diagnosis:
    name = getattr(resolved.settings, kind).backend
    factory = plugins.choose(kind, name)
    own = resolved.backends[kind]
    try:
        async with asyncio.timeout(PATIENCE_S):
            if factory.diagnose is not None:
                return await factory.diagnose(own)
            async with factory.open(own) as backend:
                return Diagnosis(findings=[Finding(level="ok", about=f"{kind} {name}", what=await backend.ping())])
    except TimeoutError:
        what, evidence = "does not answer", f"no answer within {PATIENCE_S:g} s"
    except KvcoreError as error:
        what, evidence = "cannot serve", str(error)
    except Exception as error:  # noqa: BLE001 - a fault of the backend, which the operator must see beside the rest
        what, evidence = "failed in a way that its contract does not allow", f"{type(error).__name__}: {error}"
    remedy = f"see the settings `{kind}.{name}` (kvctl config show), and whether its servers run"
    return Diagnosis(
        findings=[Finding(level="error", about=f"{kind} {name}", what=what, evidence=evidence, remedy=remedy)]
    )


def clock_findings(ahead_ms: Mapping[str, int], bound_ms: int, *, notable_ms: int = NOTABLE_SKEW_MS) -> list[Finding]:
    """Judge how far others' clocks, by name, are from this machine's: notable, or beyond what versions may run ahead."""
    off = {name: ms for name, ms in ahead_ms.items() if abs(ms) >= notable_ms}
    if not ahead_ms:
        return []
    if not off:
        servers = ", ".join(sorted(ahead_ms))
        agree = f"this machine's clock is within {notable_ms} ms of those of {servers}"
        return [Finding(level="ok", about="clock", what=agree)]
    all_alike = len(ahead_ms) > 1 and len(off) == len(ahead_ms) and len({ms > 0 for ms in off.values()}) == 1
    return [
        Finding(
            level="error" if max(map(abs, off.values())) >= bound_ms else "warning",
            about="clock",
            what="clock skew: this machine's clock is wrong" if all_alike else "clock skew: the clocks do not agree",
            evidence="; ".join(
                f"{name} is {abs(ms) / 1000:.1f} s {'ahead' if ms > 0 else 'behind'}"
                for name, ms in sorted(off.items())
            ),
            remedy="let NTP set the clocks of all machines; versions more than clock.max_ahead_s"
            f" ({bound_ms / 1000:g} s) ahead are refused",
        )
    ]


def _plugins(plugins: Plugins) -> list[Finding]:
    return [
        Finding(
            level="warning",
            about=f"plugin {broken.name}",
            what="could not be loaded",
            evidence=broken.reason,
            remedy=f"mend or remove {broken.distribution}",
        )
        for broken in plugins.broken
    ]
